// Everything that an API server can do wrong, at random, while pods and namespaces change. Afterwards the copies must be what
// the server has. SLUICE_CHAOS_SECONDS sets the duration, SLUICE_CHAOS_SEED repeats the random draws of a run.
import * as Effect from 'effect/Effect';
import { describe, expect, it } from 'vitest';
import { PATIENCE_MS, type Fault, type KubernetesApi } from '@sluice/testbed';
import { NAMESPACES, PODS, reflect, type ReflectorNews, type ReflectorOptions } from '../src/index.js';
import {
  access,
  closing,
  connect,
  keep,
  known,
  NODE,
  onServer,
  open,
  podTemplate,
  sortedEntries,
  startApi,
  type Kept,
} from './harness.js';
import { random, type Random } from './random.js';

const SECONDS = Number(process.env['SLUICE_CHAOS_SECONDS'] ?? 15);
const SEED = Number(process.env['SLUICE_CHAOS_SEED'] ?? Math.floor(Math.random() * 2 ** 32));

/** A copy made from the reported changes, which fails when a change is missing. */
class Told {
  readonly objects = new Map<string, Kept>();
  readonly holes: unknown[] = [];
  readonly #deleted = new Set<string>();

  readonly hear = (news: ReflectorNews<Kept>): Effect.Effect<void> =>
    Effect.sync(() => {
      for (const change of news.kind === 'changes' ? news.changes : []) {
        const { kind, uid } = change;
        if (this.objects.has(uid) !== (kind !== 'added') || this.#deleted.has(uid)) this.holes.push(change);
        if (kind === 'deleted') {
          this.objects.delete(uid);
          this.#deleted.add(uid);
        } else this.objects.set(uid, change.object);
      }
    });
}

/** One change of the cluster. */
function change(api: KubernetesApi, draw: Random, names: { next: number }): string {
  const kind = draw.below(4) === 0 ? 'Namespace' : 'Pod';
  const there = api.list(kind).filter(({ metadata }) => metadata.name.startsWith('c'));
  const victim = draw.pick(there);
  const at = victim && {
    name: victim.metadata.name,
    ...(kind === 'Pod' && { namespace: 'default' }),
  };
  const template = (name: string): Parameters<KubernetesApi['create']>[1] =>
    kind === 'Namespace' ? { metadata: { name } } : podTemplate(name, { node: draw.below(5) === 0 ? 'node-b' : NODE });
  const what = draw.below(there.length > 40 ? 6 : 10);
  if (at === undefined || what >= 6) {
    names.next += 1;
    api.create(kind, template(`c${names.next}`));
    return `create ${kind}`;
  }
  if (what >= 3) {
    api.patch(kind, at, { metadata: { labels: { draw: String(draw.below(1000)) } } });
    return `label ${kind}`;
  }
  api.remove(kind, at);
  if (what > 0) return `remove ${kind}`;
  api.create(kind, template(at.name));
  return `make ${kind} anew`;
}

/** One thing that goes wrong. */
async function misbehave(api: KubernetesApi, draw: Random): Promise<string> {
  const faults: (() => Fault)[] = [
    () => ({ kind: 'status', code: draw.pick([429, 500, 502, 503, 504]) ?? 500, retryAfterSeconds: 0 }),
    () => ({ kind: 'silence' }),
    () => ({ kind: 'drop', afterBytes: 1 + draw.below(3000) }),
    () => ({ kind: 'slow', delayMs: draw.below(80) }),
    () => ({ kind: 'garbage' }),
    () => ({ kind: 'gone', how: draw.below(2) === 0 ? 'http' : 'event' }),
    () => ({ kind: 'end' }),
    () => ({ kind: 'duplicates', count: 1 + draw.below(20) }),
  ];
  const actions = ['corrupt', 'drop', 'end', 'garbage', 'gone', 'silence', 'truncate', 'bookmark'] as const;
  switch (draw.below(8)) {
    case 0:
    case 1:
    case 2: {
      const fault = (draw.pick(faults) ?? (() => ({ kind: 'end' })))();
      const verb = draw.pick(['list', 'watch']) ?? 'list';
      api.faults.inject(fault, { verb, times: 1 + draw.below(4) });
      return `${verb} ${fault.kind}`;
    }
    case 3:
    case 4: {
      const action = draw.pick(actions) ?? 'drop';
      draw.pick(api.watches)?.[action]();
      return action;
    }
    case 5:
      draw.pick(api.watches)?.duplicate(1 + draw.below(30));
      return 'duplicate';
    case 6:
      if (draw.below(2) === 0) api.compact();
      else api.bookmarkEveryMs = api.bookmarkEveryMs === undefined ? 30 : undefined;
      return 'compact or bookmarks';
    default:
      if (draw.below(4) > 0) return 'nothing';
      await api.away();
      for (let index = draw.below(8); index > 0; index -= 1) change(api, draw, { next: 1_000_000 + draw.below(1e9) });
      await new Promise((resolve) => setTimeout(resolve, draw.below(120)));
      await api.back();
      return 'away';
  }
}

describe(`chaos for ${SECONDS} s, SLUICE_CHAOS_SEED=${SEED}`, () => {
  const closer = closing();

  it(
    'leaves every copy as the server has it',
    async () => {
      const api = await startApi(closer, { bookmarkEveryMs: 30 });
      const client = connect(closer, access(api), { silenceMs: 150 });
      const follow = (options: Pick<ReflectorOptions<Kept>, 'resource' | 'fieldSelector' | 'lists'>) => {
        const told = new Told();
        const [reflector] = open(
          closer,
          reflect<Kept>({
            client,
            trim: keep,
            pageSize: 4,
            silenceMs: 150,
            watchSeconds: 1,
            backOff: { baseMs: 5, capMs: 40 },
            onNews: told.hear,
            ...options,
          }),
        );
        return { reflector, told };
      };
      const onNode = { resource: PODS, fieldSelector: `spec.nodeName=${NODE}` };
      const copies = [
        { ...follow(onNode), kind: 'Pod' },
        { ...follow({ ...onNode, lists: 'cached' }), kind: 'Pod' },
        { ...follow({ resource: NAMESPACES }), kind: 'Namespace' },
      ] as const;
      const draw = random(SEED);
      const names = { next: 0 };
      const done = new Map<string, number>();
      const until = Date.now() + SECONDS * 1000;
      // A slow machine needs longer until enough of everything has happened for the test to mean something.
      const isEnough = (): boolean =>
        [...done.values()].reduce((sum, count) => sum + count, 0) > 300 &&
        copies.every(({ reflector: { counters } }) => counters.lists > 1 && counters.failures.size > 3);
      while (Date.now() < until || !isEnough()) {
        const what = draw.below(12) === 0 ? await misbehave(api, draw) : change(api, draw, names);
        done.set(what, (done.get(what) ?? 0) + 1);
        await new Promise((resolve) => setTimeout(resolve, draw.below(8)));
      }
      api.faults.clear();
      api.bookmarkEveryMs = 30;
      // During the chaos a list may make up for a lost event by chance. From here on only watches break.
      for (let blow = 0; blow < 8; blow += 1) {
        for (const { reflector, kind } of copies)
          await expect
            .poll(() => ({ copy: sortedEntries(known(reflector)), connected: reflector.state.connected }))
            .toEqual({ copy: sortedEntries(onServer(api, kind)), connected: true });
        for (const watch of api.watches)
          watch[draw.pick(['silence', 'corrupt', 'truncate', 'drop'] as const) ?? 'drop']();
        for (let count = 0; count < 6; count += 1) change(api, draw, names);
      }
      for (const { reflector, told, kind } of copies) {
        await expect.poll(() => sortedEntries(known(reflector))).toEqual(sortedEntries(onServer(api, kind)));
        expect(told.holes).toEqual([]);
        expect(told.objects).toEqual(new Map(reflector.objects));
      }
      if (process.env['SLUICE_CHAOS_SECONDS'] !== undefined)
        process.stdout.write(
          `${JSON.stringify({ seed: SEED, done: Object.fromEntries(done) })}\n${JSON.stringify(copies.map(({ reflector: { counters } }) => ({ ...counters, failures: Object.fromEntries(counters.failures) })))}\n`,
        );
    },
    SECONDS * 1000 + 2 * PATIENCE_MS,
  );
});
