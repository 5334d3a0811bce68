// Which configuration files are accepted, and the messages for the others.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import * as Duration from 'effect/Duration';
import * as Effect from 'effect/Effect';
import * as Result from 'effect/Result';
import * as Schema from 'effect/Schema';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { renamed } from '../src/config/load.js';
import { duration } from '../src/config/schema.js';
import { jsonSchemaOf, loadConfig, resolveConfig, section, setting, settings, type Entry } from '../src/index.js';

const problemsOf = (tree: unknown): readonly string[] =>
  Result.match(resolveConfig(tree, 'sluice.yaml'), { onFailure: ({ problems }) => problems, onSuccess: () => [] });

describe('defaults', () => {
  afterEach(() => vi.unstubAllEnvs());
  it('are Istio’s', () => {
    vi.stubEnv('NODE_NAME', 'from-env');
    expect(Result.getOrThrow(resolveConfig({}, 'test'))).toMatchObject({
      mode: 'inPod',
      capture: 'route',
      nodeName: 'from-env',
      excludeNamespaces: ['kube-system'],
      ztunnel: { namespace: 'istio-system', labels: { app: 'ztunnel' }, serviceAccount: 'ztunnel', byMark: false },
      policy: { noZtunnel: 'hold', pending: 'hold', holdLimit: Duration.seconds(60) },
      zds: { socket: '/var/run/ztunnel/ztunnel.sock' },
      probes: { exempt: 'kubelet' },
      ambient: { dnsCapture: true, ipv6: true },
      resyncInterval: Duration.seconds(30),
      metrics: { listen: undefined },
    });
  });
  it('have the host’s name for an empty one', () => {
    vi.stubEnv('NODE_NAME', '');
    expect(Result.getOrThrow(resolveConfig({}, 'test')).nodeName).toBe(hostname());
  });
  it('stand for empty sections', () => {
    expect(problemsOf({ policy: null, ztunnel: {}, exclude: { outboundPorts: null } })).toEqual([]);
    expect(problemsOf({ enablementSelectors: [{ podSelector: null }] })).toEqual([]);
  });
});

describe('a file', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-config-file-'));
  afterAll(() => rmSync(directory, { recursive: true }));

  it('with an asterisk that YAML takes for an alias is refused with a remedy', async () => {
    const path = join(directory, 'config.yaml');
    writeFileSync(path, 'metrics:\n  listen: *:15014\n');
    const error = await Effect.runPromise(Effect.flip(loadConfig(path)));
    expect(error.message).toBe(
      `${path}: not YAML: Unresolved alias (the anchor must be set before the alias): :15014; put a value that begins with \`*\` or \`&\` in quotes`,
    );
  });
});

describe('a value that is written in a form of its own', () => {
  it.each([
    ['30s', 30_000],
    ['0.25s', 250],
    ['1.5s', 1500],
    ['500ms', 500],
    ['5m', 300_000],
    ['2h', 7_200_000],
  ])('is a duration: %s', (written, ms) => {
    const { resyncInterval } = Result.getOrThrow(resolveConfig({ resyncInterval: written }, 'test'));
    expect(Duration.toMillis(resyncInterval)).toBe(ms);
  });
  it.each([
    ['127.0.0.1:9090', { host: '127.0.0.1', port: 9090 }],
    ['[FE80::1]:9090', { host: 'FE80::1', port: 9090 }],
    [':9090', { host: '::', port: 9090 }],
    ['node-1:0', { host: 'node-1', port: 0 }],
  ])('is an address and port: %s', (listen, expected) => {
    expect(Result.getOrThrow(resolveConfig({ metrics: { listen } }, 'test')).metrics.listen).toEqual(expected);
  });
  it('is a range, or one address', () => {
    const exclude = { outboundCIDRs: ['10.1.2.3/8', '10.0.0.1', 'FD00::/8'] };
    const config = Result.getOrThrow(resolveConfig({ exclude }, 'test'));
    expect(config.exclude.outboundCIDRs).toEqual(['10.0.0.0/8', '10.0.0.1/32', 'fd00::/8']);
  });
});

describe('a setting that was renamed', () => {
  const declared = jsonSchemaOf(
    section('', {
      policy: section('', {
        waiting: setting(Schema.String, 'a', { description: '', formerly: 'policy.pending' }),
        within: setting(duration, '1s', { description: '', formerly: 'patience.longest' }),
      }),
    }),
  );
  it('can still be set by its former name', () => {
    const written = { policy: { pending: 'b' }, patience: { longest: '2s' } };
    const expected = { tree: { policy: { waiting: 'b', within: '2s' } }, problems: [] };
    expect(renamed(written, declared)).toEqual(expected);
    expect(renamed(expected.tree, declared)).toEqual(expected);
  });
  it('cannot be set by both names', () => {
    expect(renamed({ policy: { pending: 'b', waiting: 'c' } }, declared)).toEqual({
      tree: { policy: { waiting: 'c' } },
      problems: [
        { keys: ['policy', 'pending'], text: 'is the same setting as `policy.waiting`; remove `policy.pending`' },
      ],
    });
  });
});

describe('problems', () => {
  const cases: [string, unknown, readonly string[]][] = [
    ['unknown name', { nodename: 'a' }, ['`nodename` is not a setting; did you mean `nodeName`?']],
    [
      'unknown name in a section',
      { ztunnel: { namespce: 'a' } },
      ['`ztunnel.namespce` is not a setting; did you mean `namespace`?'],
    ],
    [
      'nothing near',
      { policy: { xyzzyplugh: 1 } },
      ['`policy.xyzzyplugh` is not a setting; known here: noZtunnel, pending, holdLimit, unknown'],
    ],
    [
      'socket',
      { zds: { socket: 'ztunnel.sock' } },
      ['`zds.socket` cannot be "ztunnel.sock"; write an absolute path of at most 107 bytes, such as /run/ztunnel.sock'],
    ],
    [
      'duration',
      { resyncInterval: 'often' },
      [
        '`resyncInterval` cannot be "often"; write a duration longer than 0, with its unit (ms, s, m or h), such as 30s',
      ],
    ],
    [
      'duration of nothing',
      { inventory: { watchSilence: 0 } },
      [
        '`inventory.watchSilence` cannot be 0; write a duration longer than 0, with its unit (ms, s, m or h), such as 30s',
      ],
    ],
    [
      'duration without a unit',
      { policy: { holdLimit: 10 } },
      ['`policy.holdLimit` cannot be 10; write a duration longer than 0, with its unit (ms, s, m or h), such as 10s'],
    ],
    [
      'port of nothing',
      { metrics: { listen: '127.0.0.1:65536' } },
      ['`metrics.listen` cannot be "127.0.0.1:65536"; write an address and port, such as 127.0.0.1:15014'],
    ],
    [
      'listen',
      { metrics: { listen: '9090' } },
      ['`metrics.listen` cannot be "9090"; write an address and port, such as 127.0.0.1:15014'],
    ],
    [
      'range',
      { exclude: { outboundCIDRs: ['10.0.0.0/99'] } },
      ['`exclude.outboundCIDRs[0]` cannot be "10.0.0.0/99"; write a CIDR, such as 10.0.0.0/8'],
    ],
    [
      'unknown name in a selector, which would match every pod without it',
      { enablementSelectors: [{}, { podSelectr: { matchLabels: { a: 'b' } } }] },
      ['`enablementSelectors[1].podSelectr` is not a setting; did you mean `podSelector`?'],
    ],
    [
      'unknown name deep in a selector',
      {
        enablementSelectors: [
          { podSelector: { matchLabel: { a: 'b' }, matchExpressions: [{ key: 'a', operator: 'In', value: ['b'] }] } },
        ],
      },
      [
        '`enablementSelectors[0].podSelector.matchLabel` is not a setting; did you mean `matchLabels`?',
        '`enablementSelectors[0].podSelector.matchExpressions[0].value` is not a setting; did you mean `values`?',
      ],
    ],
    [
      'a label without a value, without which a selector would match more',
      {
        ztunnel: { labels: { app: null, tier: 'mesh' } },
        enablementSelectors: [{ podSelector: { matchLabels: { a: null, b: '' } } }],
      },
      [
        "`enablementSelectors[0].podSelector.matchLabels.a` has no value; write '' for the empty label",
        "`ztunnel.labels.app` has no value; write '' for the empty label",
      ],
    ],
    [
      'no labels, which every pod of the service account would match',
      { ztunnel: { labels: {} } },
      ['`ztunnel.labels` cannot be empty; write a mapping of strings, such as {app: ztunnel}'],
    ],
    ['not a mapping', ['a'], ['cannot be a list; write a mapping of settings, such as {nodeName: node-1}']],
  ];
  it.each(cases)('%s', (_name, tree, problems) => expect(problemsOf(tree)).toEqual(problems));

  it('are all reported at once, each with its place', () => {
    const problems = problemsOf({
      mode: 'other',
      exclude: { outboundPorts: [0] },
      log: { level: 'loud' },
      nodeName: 7,
      resyncInterval: '0s',
      metrics: { lisen: ':1', listen: 'here' },
    });
    const places = ['`mode`', '`exclude.outboundPorts[0]`', '`log.level`', '`nodeName`', '`resyncInterval`'];
    places.push('`metrics.lisen`', '`metrics.listen`');
    expect(problems).toHaveLength(places.length);
    for (const place of places) {
      expect(problems.some((text) => text.startsWith(place))).toBe(true);
    }
  });
});

describe('a name that does not exist', () => {
  const declared = jsonSchemaOf(settings);

  /** Every place where names are written, with an item in each list. */
  function* places({ properties, items }: Entry, at: readonly (string | number)[] = []): Generator<typeof at> {
    if (properties !== undefined) yield at;
    for (const [name, entry] of Object.entries(properties ?? {})) yield* places(entry, [...at, name]);
    if (items !== undefined) yield* places(items, [...at, 0]);
  }
  const within = (at: readonly (string | number)[], value: unknown): unknown =>
    at.reduceRight<unknown>((below, key) => (typeof key === 'number' ? [below] : { [key]: below }), value);
  const all = [...places(declared)].map((at) => [at.join('.'), at] as const);

  it.each(all)('is refused in every place: %s', (_name, at) => {
    const problems = problemsOf(within(at, { xyzzyplugh: 1 }));
    expect(problems.filter((text) => text.includes('xyzzyplugh` is not a setting; '))).toHaveLength(1);
  });
  it('is looked for in the selectors', () => {
    expect(all.map(([name]) => name)).toContain('enablementSelectors.0.namespaceSelector.matchExpressions.0');
  });
});

describe('a file', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-config-'));
  afterAll(() => rmSync(directory, { recursive: true }));
  const write = (text: string): string => {
    const path = join(directory, 'sluice.yaml');
    writeFileSync(path, text);
    return path;
  };
  it('is overridden by the command line', async () => {
    const path = write('nodeName: a\npaths:\n  runDir: /run/x\n  proc: /p\n');
    const config = await Effect.runPromise(
      loadConfig(path, { nodeName: 'b', paths: { runDir: '/run/y', bpffs: undefined } }),
    );
    expect(config).toMatchObject({ nodeName: 'b', paths: { runDir: '/run/y', proc: '/p', bpffs: '/sys/fs/bpf' } });
  });
  it('that does not exist or is not YAML is named in the error', async () => {
    const messageOf = (path: string): Promise<string> =>
      Effect.runPromise(Effect.flip(loadConfig(path)).pipe(Effect.map(({ message }) => message)));
    await expect(messageOf('/nonexistent.yaml')).resolves.toMatch(/^\/nonexistent.yaml: cannot be read .*--config/);
    await expect(messageOf(write('a: [1\nb: 2'))).resolves.toMatch(/sluice.yaml: line 2: not YAML: /);
  });
});
