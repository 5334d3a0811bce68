// The reflector, with each thing that an API server does right or wrong.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import * as Effect from 'effect/Effect';
import * as TestClock from 'effect/testing/TestClock';
import { describe, expect, it } from 'vitest';
import type { KubernetesApi } from '@sluice/testbed';
import { NAMESPACES, reflect as reflectInScope } from '../src/index.js';
import {
  access,
  closing,
  connect,
  keep,
  known,
  onServer,
  podTemplate,
  reflect,
  sortedEntries,
  startApi,
  type Kept,
} from './harness.js';
import type { Reflector } from '../src/index.js';

const closer = closing();
/** Only for the tests about silence: on a busy machine, a server may be silent for longer in any other test. */
const SILENCE_MS = 500;

async function setUp(pods = 7): Promise<{ api: KubernetesApi; client: ReturnType<typeof connect> }> {
  const api = await startApi(closer, { bookmarkEveryMs: 20 });
  for (let index = 0; index < pods; index += 1) api.create('Pod', podTemplate(`p${index}`));
  api.create('Pod', podTemplate('elsewhere', { node: 'node-b' }));
  return { api, client: connect(closer, access(api)) };
}

/** Waits until the copy is what the server has. */
async function settled(reflector: Reflector<Kept>, api: KubernetesApi): Promise<void> {
  await Effect.runPromise(reflector.synced);
  const [copy, server] = [(): unknown => sortedEntries(known(reflector)), sortedEntries(onServer(api, 'Pod'))];
  await expect.poll(copy).toEqual(server);
}

const watching = (api: KubernetesApi): Promise<void> => expect.poll(() => api.watches.length).toBeGreaterThan(0);

describe('what goes well', () => {
  it('lists page by page, then follows the watch', async () => {
    const { api, client } = await setUp();
    const reflector = reflect(closer, client);
    expect(reflector.state.synced).toBe(false);
    await Effect.runPromise(reflector.synced);
    expect(known(reflector)).toEqual(onServer(api, 'Pod'));
    expect(reflector.log.map(({ kind }) => kind)).toEqual(Array(7).fill('added'));
    expect(api.requests.filter(({ verb }) => verb === 'list')).toHaveLength(3);

    await watching(api);
    api.create('Pod', podTemplate('new'));
    api.patch('Pod', { namespace: 'default', name: 'p1' }, { metadata: { labels: { a: 'b' } } });
    api.remove('Pod', { namespace: 'default', name: 'p2' });
    await settled(reflector, api);
    expect(reflector.log.slice(7).map(({ kind }) => kind)).toEqual(['added', 'changed', 'deleted']);
    expect(reflector.counters.lists).toBe(1);
  });

  it('goes on from a bookmark without a list, even if the history before it is gone', async () => {
    const { api, client } = await setUp();
    const reflector = reflect(closer, client);
    await watching(api);
    api.create('Pod', podTemplate('of-another-node', { node: 'node-b' }));
    await expect.poll(() => reflector.state.resourceVersion).toBe(api.resourceVersion);
    api.compact();
    api.watches[0]?.drop();
    await expect.poll(() => reflector.counters.watches).toBeGreaterThan(1);
    api.create('Pod', podTemplate('later'));
    await settled(reflector, api);
    expect(reflector.counters.lists).toBe(1);
  });

  it('follows an object that starts and ceases to match', async () => {
    const { api, client } = await setUp(0);
    const reflector = reflect(closer, client, { fieldSelector: '', labelSelector: 'mesh=on' });
    await watching(api);
    api.create('Pod', podTemplate('p'));
    const change = (labels: unknown): unknown =>
      api.patch('Pod', { namespace: 'default', name: 'p' }, { metadata: { labels } });
    change({ mesh: 'on' });
    change({ mesh: null });
    change({ mesh: 'on' });
    await expect.poll(() => reflector.log.map(({ kind }) => kind)).toEqual(['added', 'deleted', 'added']);
  });

  it('takes a pod that is recreated under its old name for another pod', async () => {
    const { api, client } = await setUp(1);
    const reflector = reflect(closer, client);
    await watching(api);
    api.remove('Pod', { namespace: 'default', name: 'p0' });
    api.create('Pod', podTemplate('p0'));
    await settled(reflector, api);
    const kinds = reflector.log.map(({ kind, uid }) => [kind, uid]);
    const [first, last] = [kinds[0]?.[1], kinds[2]?.[1]];
    expect(kinds).toEqual([
      ['added', first],
      ['deleted', first],
      ['added', last],
    ]);
    expect(first).not.toBe(last);
  });

  it('takes what the server has in memory if the options say so', async () => {
    const { api, client } = await setUp();
    const reflector = reflect(closer, client, { lists: 'cached' });
    await watching(api);
    const seen = reflector.state.resourceVersion;
    api.watches[0]?.gone();
    const lists = (): URLSearchParams[] => api.requests.filter(({ verb }) => verb === 'list').map(({ query }) => query);
    await expect.poll(() => lists().map((query) => query.get('resourceVersion'))).toEqual(['0', seen]);
    expect(lists().some((query) => query.has('limit'))).toBe(false);
  });

  it('leaves nothing open when it is closed, whatever it is doing', async () => {
    const { api, client } = await setUp();
    api.faults.inject({ kind: 'silence' }, { verb: 'list' });
    const inList = reflect(closer, client);
    await expect.poll(() => api.faults.waiting).toBe(0);
    await inList.close();
    const inWatch = reflect(closer, client);
    await watching(api);
    await inWatch.close();
    await inWatch.close();
    expect(inWatch.objects.size).toBe(7);
    await expect.poll(() => api.watches).toHaveLength(0);
    api.faults.inject({ kind: 'status', code: 503, retryAfterSeconds: 300 });
    const inWait = reflect(closer, client);
    await expect.poll(() => inWait.problems).toHaveLength(1);
    await inWait.close();
  });

  it('lets its process end when it is closed in the middle of its work', async () => {
    const { api } = await setUp();
    api.faults.inject({ kind: 'silence' }, { verb: 'list', resource: 'namespaces', times: Infinity });
    api.faults.inject({ kind: 'status', code: 503, retryAfterSeconds: 300 }, { resource: 'nodes', times: Infinity });
    const child = spawn(process.execPath, [fileURLToPath(new URL('closing.mjs', import.meta.url))], { stdio: 'pipe' });
    closer.defer(() => child.kill());
    child.stdin.end(JSON.stringify({ server: api.url, token: api.adminToken, ca: api.ca }));
    let said = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => (said += text));
    const [code] = (await once(child, 'close')) as [number | null];
    expect({ code, said }).toEqual({ code: 0, said: '7 pods\n' });
  });
});

describe('a relist', () => {
  it('reports what was deleted and created during an outage exactly once', async () => {
    const { api, client } = await setUp();
    const reflector = reflect(closer, client);
    await watching(api);
    await api.away();
    await expect.poll(() => reflector.state.connected).toBe(false);
    api.remove('Pod', { namespace: 'default', name: 'p3' });
    api.remove('Pod', { namespace: 'default', name: 'p4' });
    api.create('Pod', podTemplate('p4'));
    api.compact();
    await expect.poll(() => reflector.state.failures).toBeGreaterThan(2);
    expect(reflector.objects.size).toBe(7);
    expect(reflector.state).toMatchObject({ synced: true, connected: false });
    await api.back();
    await settled(reflector, api);
    expect(reflector.log.slice(7).map(({ kind }) => kind)).toEqual(['deleted', 'deleted', 'added']);
  });

  it.each(['http', 'event'] as const)('follows 410 as %s', async (how) => {
    const { api, client } = await setUp();
    api.faults.inject({ kind: 'gone', how }, { verb: 'watch' });
    const reflector = reflect(closer, client);
    // The second watch starts when the second list has been taken in.
    await expect.poll(() => reflector.counters).toMatchObject({ lists: 2, watches: 2 });
    expect(known(reflector)).toEqual(onServer(api, 'Pod'));
    expect(reflector.log).toHaveLength(7);
  });

  it('changes nothing when it fails half-way', async () => {
    const { api, client } = await setUp();
    const reflector = reflect(closer, client);
    await watching(api);
    api.remove('Pod', { namespace: 'default', name: 'p0' });
    await settled(reflector, api);
    const before = reflector.log.length;
    api.faults.inject({ kind: 'status', code: 500 }, { verb: 'list', continued: true, times: 3 });
    api.faults.inject({ kind: 'drop', afterBytes: 700 }, { verb: 'list', continued: true, times: 3 });
    api.watches[0]?.gone();
    await expect.poll(() => reflector.counters).toMatchObject({ lists: 8, watches: 2 });
    expect(known(reflector)).toEqual(onServer(api, 'Pod'));
    expect(reflector.log).toHaveLength(before);
  });

  it('lists again in one piece when the server forgets the revision between two pages', async () => {
    const { api, client } = await setUp();
    let release = (): void => {};
    const until = new Promise<void>((resolve) => (release = resolve));
    api.faults.inject({ kind: 'held', until }, { verb: 'list', continued: true });
    const reflector = reflect(closer, client);
    await expect.poll(() => api.faults.waiting).toBe(0);
    api.remove('Pod', { namespace: 'default', name: 'p0' });
    api.compact();
    release();
    await Effect.runPromise(reflector.synced);
    expect(sortedEntries(known(reflector))).toEqual(sortedEntries(onServer(api, 'Pod')));
    expect(api.requests.filter(({ verb }) => verb === 'list').map(({ code }) => code)).toEqual([200, 410, 200]);
  });

  it('follows a server that was set back to an earlier state', async () => {
    const { api, client } = await setUp();
    const reflector = reflect(closer, client);
    await watching(api);
    api.watches[0]?.send('BOOKMARK', { metadata: { resourceVersion: '5' } });
    await expect.poll(() => reflector.counters.lists).toBe(2);
    expect(reflector.counters.failures.get('SetBack')).toBe(1);
  });
});

describe('what goes wrong', () => {
  const cases: Record<string, (api: KubernetesApi) => void> = {
    'is cut': (api) => api.watches[0]?.drop(),
    'ends in the middle of a line': (api) => api.watches[0]?.truncate(),
    'loses a byte of an event': (api) => api.watches[0]?.corrupt(),
    'has a line that is not JSON': (api) => api.watches[0]?.garbage(),
    'has JSON that is not an event': (api) => api.watches[0]?.garbage('{"type":"RENAMED","object":{}}'),
    'has JSON that is not an object': (api) => api.watches[0]?.garbage('[1,2]'),
    'falls silent': (api) => api.watches[0]?.silence(),
    'has an error event': (api) => api.watches[0]?.send('ERROR', { code: 500, reason: 'InternalError', message: 'x' }),
    'ends orderly': (api) => api.watches[0]?.end(),
    'meets 429': (api) => {
      api.faults.inject({ kind: 'status', code: 429, retryAfterSeconds: 0 }, { verb: 'watch', times: 3 });
      api.watches[0]?.drop();
    },
    'is never answered': (api) => {
      api.faults.inject({ kind: 'silence' }, { verb: 'watch' });
      api.watches[0]?.drop();
    },
  };
  it.each(Object.keys(cases))('is repaired when the watch %s', async (name) => {
    const { api, client } = await setUp();
    const isSilence = ['falls silent', 'is never answered'].includes(name);
    const reflector = reflect(closer, client, isSilence ? { silenceMs: SILENCE_MS } : {});
    await watching(api);
    cases[name]?.(api);
    api.create('Pod', podTemplate('after'));
    api.remove('Pod', { namespace: 'default', name: 'p0' });
    await settled(reflector, api);
    expect(reflector.counters.lists).toBe(1);
    expect(reflector.log.filter(({ kind }) => kind === 'deleted')).toHaveLength(1);
  });

  it('ignores repeated events', async () => {
    const { api, client } = await setUp(1);
    const reflector = reflect(closer, client);
    await watching(api);
    api.create('Pod', podTemplate('short'));
    api.remove('Pod', { namespace: 'default', name: 'short' });
    await settled(reflector, api);
    api.watches[0]?.duplicate(10);
    api.create('Pod', podTemplate('last'));
    await settled(reflector, api);
    expect(reflector.log.map(({ kind }) => kind)).toEqual(['added', 'added', 'deleted', 'added']);
    expect(reflector.counters.duplicates).toBeGreaterThan(2);
  });

  it('lists after several watches that all end at once', async () => {
    const { api, client } = await setUp();
    api.bookmarkEveryMs = undefined;
    api.faults.inject({ kind: 'end' }, { verb: 'watch', times: 3 });
    const reflector = reflect(closer, client);
    await expect.poll(() => reflector.counters.lists).toBe(2);
    await settled(reflector, api);
  });

  it('counts and skips objects that cannot be used, and keeps what it knew of them', async () => {
    const { api, client } = await setUp(2);
    const reflector = reflect(closer, client, {
      trim: ({ metadata }) => {
        const labels = metadata['labels'] as { poison?: string } | undefined;
        if (labels?.poison !== undefined) throw new Error('poison');
        return { key: metadata.name, revision: metadata.resourceVersion, labels };
      },
    });
    await watching(api);
    const { revision } = [...reflector.objects][0]?.[1] ?? {};
    api.patch('Pod', { namespace: 'default', name: 'p0' }, { metadata: { labels: { poison: 'x' } } });
    for (const nonsense of [null, 7, {}, { metadata: { uid: 1, name: 'a' } }, { metadata: { uid: 'u', name: '' } }])
      api.watches[0]?.send('ADDED', nonsense);
    await expect.poll(() => reflector.counters.badObjects).toBe(6);
    api.watches[0]?.gone();
    await expect.poll(() => reflector.counters.badObjects).toBe(7);
    await expect.poll(() => reflector.state.connected).toBe(true);
    expect(reflector.objects.size).toBe(2);
    expect([...reflector.objects].map(([, kept]) => kept.revision)).toContain(revision);
    expect(reflector.counters.failures.get('Garbled')).toBeUndefined();
  });

  it('waits for as long as the server asks', async () => {
    const { api, client } = await setUp();
    api.faults.inject({ kind: 'status', code: 429, retryAfterSeconds: 7 }, { verb: 'list' });
    const problems: unknown[] = [];
    const onNews = (news: { kind: string }): Effect.Effect<void> =>
      Effect.sync(() => void (news.kind === 'problem' && problems.push(news)));
    const program = Effect.gen(function* () {
      const { synced } = yield* reflectInScope({ client, resource: NAMESPACES, trim: keep, onNews });
      yield* Effect.promise(() => expect.poll(() => problems).toHaveLength(1));
      yield* TestClock.adjust(6999);
      expect(api.requests.map(({ code }) => code)).toEqual([429]);
      // Up to a tenth is added at random.
      yield* TestClock.adjust(701);
      yield* synced;
    });
    await Effect.runPromise(Effect.provide(Effect.scoped(program), TestClock.layer()));
    expect(problems).toMatchObject([{ error: { code: 429, reason: 'TooManyRequests', retryAfterMs: 7000 } }]);
  });

  it.each([
    ['dies', () => Effect.die(new Error('a mistake'))],
    [
      'throws',
      () => {
        throw new Error('a mistake');
      },
    ],
  ])('goes on if whoever is told of a problem %s', async (_how, onProblem) => {
    const { api, client } = await setUp(1);
    api.faults.inject({ kind: 'status', code: 503 }, { verb: 'list', times: 2 });
    const reflector = reflect(closer, client, {
      onNews: ({ kind }) => (kind === 'problem' ? onProblem() : Effect.void),
    });
    await expect.poll(() => reflector.state.connected).toBe(true);
    await settled(reflector, api);
    expect(reflector.counters.failures.get('Internal')).toBe(2);
  });

  it('names the right that it lacks when it is forbidden to list', async () => {
    const { api } = await setUp();
    api.allow('narrow', { name: 'system:serviceaccount:istio-system:sluice', rules: [] });
    const reflector = reflect(closer, connect(closer, access(api, 'narrow')), { resource: NAMESPACES });
    await expect
      .poll(() => reflector.problems.map(({ error }) => error.message))
      .toContain(
        'GET /api/v1/namespaces: 403 Forbidden: namespaces is forbidden: User "system:serviceaccount:istio-system:sluice" ' +
          'cannot list resource "namespaces" in API group "" at the cluster scope',
      );
  });
});
