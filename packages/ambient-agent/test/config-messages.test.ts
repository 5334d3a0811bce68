// The message for every setting that can be written wrongly, in every way: it names the place, what was written and what may be.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as Effect from 'effect/Effect';
import * as Result from 'effect/Result';
import { afterAll, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { entriesOf, jsonSchemaOf, loadConfig, resolveConfig, settings, typeOf, type Entry } from '../src/index.js';

type Keys = readonly (string | number)[];

const declared = jsonSchemaOf(settings);
const all = [...entriesOf(declared)];
const inSections = all.filter(([, { isOneValue }]) => isOneValue === undefined);

/** What nobody may read in a message, because what is written in the wrong place may be a secret. */
const SECRET = 'hunter2';

const within = (keys: Keys, value: unknown): unknown =>
  keys.reduceRight<unknown>((below, key) => (typeof key === 'number' ? [below] : { [key]: below }), value);

const text = (keys: Keys): string =>
  keys.reduce<string>((so, key) => (typeof key === 'number' ? `${so}[${key}]` : so === '' ? key : `${so}.${key}`), '');

const problemsOf = (tree: unknown): readonly string[] =>
  Result.match(resolveConfig(tree, ''), { onFailure: ({ problems }) => problems, onSuccess: () => [] });

const misspelt = (name: string): string => `${name.slice(0, 1)}${name.slice(2)}x`;

/** Values that a setting must not have, with how its message shows each. */
function* wrongValues(entry: Entry): Generator<readonly [kind: string, keys: Keys, value: unknown, shown: string]> {
  const { type, enum: allowed, items, minimum, maximum, pattern, title } = entry;
  if (type !== 'object') yield ['a mapping', [], { password: SECRET }, 'a mapping'];
  if (type !== 'array') yield ['a list', [], [SECRET], 'a list'];
  if (type !== 'boolean') yield ['a boolean', [], true, 'true'];
  if (type !== 'string') yield ['a string', [], 'xyzzy', '"xyzzy"'];
  if (type !== 'integer') yield ['a number', [], 7.5, '7.5'];
  yield* type === 'string' || type === 'boolean' ? [['empty', [], '', 'empty'] as const] : [];
  if (type === 'integer') {
    yield ['a fraction', [], 1.5, '1.5'];
    yield ['too small', [], Number(minimum) - 1, `${Number(minimum) - 1}`];
    yield ['too large', [], Number(maximum) + 1, `${Number(maximum) + 1}`];
  }
  if (title !== undefined && type === 'string') yield ['no such form', [], 'xyzzy', '"xyzzy"'];
  for (const one of allowed ?? []) yield ['misspelt', [], misspelt(one), `"${misspelt(one)}"`];
  if (pattern !== undefined) {
    yield ['without a unit', [], 10, '10'];
    yield ['without a unit, as a string', [], '10', '"10"'];
    yield ['in no such unit', [], '10w', '"10w"'];
    yield ['negative', [], '-10s', '"-10s"'];
  }
  if (items === undefined) return;
  yield ['nothing in a list', [0], null, 'null'];
  for (const [kind, keys, value, shown] of wrongValues(items)) yield [`${kind} in a list`, [0, ...keys], value, shown];
}

const directory = mkdtempSync(join(tmpdir(), 'sluice-messages-'));
afterAll(() => rmSync(directory, { recursive: true }));
const path = join(directory, 'sluice.yaml');

/** The message for a file. */
const messageFor = (yaml: string, over = {}): Promise<string> => {
  writeFileSync(path, yaml);
  return Effect.runPromise(Effect.flip(loadConfig(path, over)).pipe(Effect.map(({ message }) => message)));
};

const allowedBy = (entry: Partial<Entry>, keys: Keys): Partial<Entry> =>
  keys.length === 0 ? entry : allowedBy(entry.items ?? {}, keys.slice(1));

describe('the message for a wrong value', () => {
  const cases = inSections.flatMap(([above, entry]) =>
    [...wrongValues(entry)].map(([kind, below, value, shown]) => {
      const keys = [...above, ...below];
      return { name: text(keys), kind, keys, value, shown, allowed: typeOf(allowedBy(entry, below)) };
    }),
  );
  it.each(cases)(
    'names $name, what was written and what may be: $kind',
    async ({ name, keys, value, shown, allowed }) => {
      const line = keys.length + 1;
      const message = await messageFor(`# A comment.\n${stringify(within(keys, value))}`);
      const start = `${path}: line ${line}: \`${name}\` cannot be ${shown}; write `;
      expect(message.slice(0, start.length)).toBe(start);
      expect(message.slice(start.length)).toContain(allowed);
      expect(message).not.toContain(SECRET);
      expect(message).not.toContain('\n');
    },
  );

  it('has an example that is accepted', () => {
    const wrong = inSections.flatMap(([above, entry]) =>
      [...wrongValues(entry)].map(([, below, value]) => ({ keys: [...above, ...below], value })),
    );
    let examples = 0;
    for (const { keys, value } of wrong) {
      const [problem = ''] = problemsOf(within(keys, value));
      const [, example] = /, such as (.*)$/.exec(problem) ?? [];
      if (example === undefined) continue;
      examples += 1;
      expect([problem, problemsOf(within(keys, parse(example)))]).toEqual([problem, []]);
    }
    expect(examples).toBeGreaterThan(100);
  });

  it('is for a section, too', async () => {
    for (const [keys, { isOneValue, properties = {} }] of all) {
      if (isOneValue === undefined) continue;
      for (const [value, shown] of [
        [SECRET, `"${SECRET}"`],
        [[], 'a list'],
        [5, '5'],
      ] as const)
        expect(await messageFor(stringify(within(keys, value)), within(keys, { a: undefined }) as object)).toBe(
          `${path}: line 1: \`${text(keys)}\` cannot be ${shown}; write a mapping of ${Object.keys(properties).join(', ')}`,
        );
    }
  });
});

describe('the message for a name', () => {
  it('that is misspelt has the nearest one', () => {
    for (const [keys] of all) {
      const name = keys.at(-1) ?? '';
      const written = [...keys.slice(0, -1), misspelt(name)];
      const [problem] = problemsOf(within(written, SECRET));
      expect(problem).toMatch(`\`${text(written)}\` is not a setting; `);
      expect(problem).toContain(name);
      expect(problem).not.toContain(SECRET);
    }
  });
  it('in the wrong section has the right one', () => {
    expect(problemsOf({ holdLimit: '10s' })).toEqual([
      '`holdLimit` is not a setting; did you mean `policy.holdLimit`?',
    ]);
  });
});

describe('a message', () => {
  it('says that a value came from the command line', async () => {
    expect(await messageFor('mode: node\n', { metrics: { listen: 'here' } })).toBe(
      `${path}: command line: \`metrics.listen\` cannot be "here"; write an address and port, such as 127.0.0.1:15014`,
    );
  });
  it('says so once if there is no file', () => {
    const loaded = Effect.flip(loadConfig(undefined, { metrics: { listen: 'here' } }));
    expect(Effect.runSync(loaded).message).toMatch(/^command line: `metrics.listen` cannot be "here"/);
  });
  it('comes in the order of the file', async () => {
    expect(await messageFor('capture: x\nmod: inPod\nlog:\n  level: loud\n')).toMatch(
      /line 1: [^]*line 2: [^]*line 4: /,
    );
  });
  it('names a key that is written twice', async () => {
    expect(await messageFor('mode: node\nmode: inPod\n')).toBe(
      `${path}: line 2: \`mode\` is written twice; remove one of them`,
    );
  });
  it('repeats nothing of a file of another kind', async () => {
    for (const yaml of [
      `a: [${SECRET}\nb: 1\n`,
      `token: ${SECRET}\nuser: {password: ${SECRET}}\n`,
      `- ${SECRET}\n`,
      `mode: ${SECRET.repeat(20)}\n`,
    ])
      expect(await messageFor(yaml)).not.toContain(SECRET);
  });
  it('takes null for a setting that is left out', () => {
    for (const [keys] of all) expect(problemsOf(within(keys, null))).toEqual([]);
  });
});
