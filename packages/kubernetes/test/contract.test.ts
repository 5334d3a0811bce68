// What an API server has to do for the reflector and the writes to be right. Tests the double or, with SLUICE_API_URL,
// SLUICE_API_TOKEN and SLUICE_API_CA (a PEM file), a real server on which the token may create namespaces, pods and events.
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as Effect from 'effect/Effect';
import * as Exit from 'effect/Exit';
import * as Scope from 'effect/Scope';
import * as Stream from 'effect/Stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KubernetesApi, PATIENCE_MS, until } from '@sluice/testbed';
import {
  ApiClient,
  ApiError,
  patchPodAnnotation,
  PODS,
  PodEvents,
  reflect,
  type ApiAccess,
  type ApiRequest,
} from '../src/index.js';
import { access } from './harness.js';

const url = process.env['SLUICE_API_URL'];
const run = `sluice-contract-${randomUUID().slice(0, 8)}`;
const node = `${run}-node`;

interface Raw {
  readonly metadata: {
    readonly uid: string;
    readonly name: string;
    readonly resourceVersion: string;
    readonly deletionTimestamp?: string;
    readonly annotations?: Record<string, string>;
  };
  readonly spec?: unknown;
}
interface RawList {
  readonly metadata: { resourceVersion: string; continue?: string };
  readonly items: Raw[];
}

let api: KubernetesApi | undefined;
let target: ApiAccess;
const scope = Scope.makeUnsafe();
let client: ApiClient;
const ask = (request: ApiRequest): Promise<unknown> => Effect.runPromise(client.request(request));
const pods = `/api/v1/namespaces/${run}/pods`;
const selector = `spec.nodeName=${node}`;

const pod = (name: string, labels: Record<string, string> = {}): unknown => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, labels },
  spec: {
    nodeName: node,
    automountServiceAccountToken: false,
    containers: [{ name: 'main', image: 'example.com/main:1', imagePullPolicy: 'Never' }],
  },
});
const create = async (name: string, labels?: Record<string, string>): Promise<Raw> =>
  (await ask({ method: 'POST', path: pods, body: pod(name, labels) })) as Raw;
const remove = (name: string): Promise<unknown> =>
  ask({ method: 'DELETE', path: `${pods}/${name}`, query: { gracePeriodSeconds: 0 } });
const get = async (name: string): Promise<Raw> => (await ask({ method: 'GET', path: `${pods}/${name}` })) as Raw;
const listPods = async (query: Record<string, string | number> = {}): Promise<RawList> =>
  (await ask({ method: 'GET', path: PODS.path, query: { fieldSelector: selector, ...query } })) as RawList;
const patch = (path: string, body: unknown, contentType = 'application/merge-patch+json'): Promise<unknown> =>
  ask({ method: 'PATCH', path, body, contentType });
const refusal = async (request: Promise<unknown>): Promise<ApiError> => {
  const error: unknown = await request.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(ApiError);
  return error as ApiError;
};

interface Event {
  readonly type: string;
  readonly object: Raw & { readonly code?: number; readonly reason?: string };
}

/** Reads the events of a watch until there are `count` of them (not counting bookmarks and marks), or until it ends. */
async function events(query: Record<string, string | number>, count: number, path = PODS.path): Promise<Event[]> {
  const seen: Event[] = [];
  const request = {
    method: 'GET',
    path,
    query: { watch: true, timeoutSeconds: PATIENCE_MS / 1000, ...query },
  } as const;
  const take = Stream.runForEachWhile((line: string) =>
    Effect.sync(() => {
      const event = JSON.parse(line) as Event;
      // A real server marks a pod that is bound to a node before it deletes it, even without a grace period.
      const isMark = event.type === 'MODIFIED' && event.object.metadata.deletionTimestamp !== undefined;
      if (event.type !== 'BOOKMARK' && !isMark) seen.push(event);
      return seen.length < count;
    }),
  );
  await Effect.runPromise(Effect.scoped(Effect.flatMap(client.lines(request), take)));
  return seen;
}

beforeAll(async () => {
  if (url === undefined) {
    api = await KubernetesApi.start();
    target = access(api);
  } else {
    const ca = process.env['SLUICE_API_CA'];
    const tls = ca === undefined ? { rejectUnauthorized: false } : { ca: readFileSync(ca) };
    const headers = { authorization: `Bearer ${process.env['SLUICE_API_TOKEN']}` };
    target = { server: url, credentials: () => Promise.resolve({ headers, tls }), renew() {} };
  }
  client = await Effect.runPromise(Scope.provide(ApiClient.open(target), scope));
  await ask({
    method: 'POST',
    path: '/api/v1/namespaces',
    body: { apiVersion: 'v1', kind: 'Namespace', metadata: { name: run } },
  });
  // A real server refuses pods until the namespace's service account exists.
  await until(`the namespace ${run} takes a pod`, () => create('first'));
  await remove('first');
});

afterAll(async () => {
  await ask({ method: 'DELETE', path: `/api/v1/namespaces/${run}` }).catch(() => {});
  await Effect.runPromise(Scope.close(scope, Exit.void));
  await api?.close();
});

describe(`an API server (${url ?? 'the double'})`, () => {
  it('lists by node, in pages that show one revision', async () => {
    for (const name of ['list-a', 'list-b', 'list-c', 'list-d', 'list-e']) await create(name);
    const seen: string[] = [];
    const revisions = new Set<string>();
    let next: string | undefined;
    do {
      const page = await listPods({ limit: 2, ...(next !== undefined && { continue: next }) });
      if (next === undefined) await remove('list-e');
      expect(page.items.length).toBeLessThanOrEqual(2);
      seen.push(...page.items.map(({ metadata }) => metadata.name));
      revisions.add(page.metadata.resourceVersion);
      next = page.metadata.continue;
    } while (next !== undefined && next !== '');
    expect(seen).toEqual(['list-a', 'list-b', 'list-c', 'list-d', 'list-e']);
    expect(revisions.size).toBe(1);
    expect((await listPods({ fieldSelector: 'spec.nodeName=of-no-one' })).items).toEqual([]);
  });

  it('watches from the revision of a list, with growing revisions, and the deletion has its own', async () => {
    const { metadata } = await listPods();
    await create('watched');
    await patch(`${pods}/watched`, { metadata: { labels: { a: 'b' } } });
    await remove('watched');
    await create('watched');
    await remove('watched');
    const from = metadata.resourceVersion;
    const seen = await events({ fieldSelector: selector, resourceVersion: from }, 5);
    expect(seen.map(({ type }) => type)).toEqual(['ADDED', 'MODIFIED', 'DELETED', 'ADDED', 'DELETED']);
    expect(new Set(seen.map(({ object }) => object.metadata.uid)).size).toBe(2);
    const revisions = seen.map(({ object }) => Number(object.metadata.resourceVersion));
    expect(revisions).toEqual([...new Set(revisions)].sort((a, b) => a - b));
    expect(Math.min(...revisions)).toBeGreaterThan(Number(from));
  });

  it('sends DELETED, with its own revision, for an object that no longer matches', async () => {
    const { metadata } = await listPods();
    await create('leaves', { mesh: 'on' });
    await patch(`${pods}/leaves`, { metadata: { labels: { mesh: null } } });
    const query = { labelSelector: 'mesh=on', fieldSelector: selector, resourceVersion: metadata.resourceVersion };
    const [added, deleted] = await events(query, 2);
    expect([added?.type, deleted?.type]).toEqual(['ADDED', 'DELETED']);
    expect(Number(deleted?.object.metadata.resourceVersion)).toBeGreaterThan(
      Number(added?.object.metadata.resourceVersion),
    );
    await remove('leaves');
  });

  it('ends a watch after the time that the client asked for', async () => {
    const { metadata } = await listPods();
    const query = { fieldSelector: selector, resourceVersion: metadata.resourceVersion, timeoutSeconds: 1 };
    expect(await events(query, 1)).toEqual([]);
  });

  it('sends 410, as an answer or an event, for a revision that it has forgotten', async () => {
    const [event] = await events({ resourceVersion: 1 }, 1).catch((error: unknown) => {
      expect(error).toMatchObject({ code: 410, isExpired: true });
      return [{ type: 'ERROR', object: { code: 410 } }];
    });
    expect(event).toMatchObject({ type: 'ERROR', object: { code: 410 } });
  });

  it('lists what is not older than a revision, and refuses a future one', async () => {
    // The revision is a pod's: a list's own revision also counts changes of other resources, which a server's copy of the pods
    // never learns of by itself (504).
    const { metadata } = await create('newest');
    const cached = await listPods({ resourceVersion: metadata.resourceVersion });
    expect(Number(cached.metadata.resourceVersion)).toBeGreaterThanOrEqual(Number(metadata.resourceVersion));
    await remove('newest');
    await listPods({ resourceVersion: '0' });
    const far = await refusal(listPods({ resourceVersion: String(Number(metadata.resourceVersion) + 1_000_000) }));
    expect(far.code).toBe(504);
  });

  it('patches an annotation through pods/status, and nothing of the spec', async () => {
    const { spec } = await create('patched');
    const before = await get('patched');
    await patch(`${pods}/patched/status`, {
      metadata: { uid: before.metadata.uid, annotations: { 'example.com/a': 'b', 'example.com/c': 'd' } },
      spec: { nodeName: 'elsewhere' },
    });
    await patch(`${pods}/patched/status`, { metadata: { annotations: { 'example.com/a': null } } });
    const after = await get('patched');
    expect(after.metadata.annotations).toEqual({ 'example.com/c': 'd' });
    expect(after.spec).toEqual(spec);
    // The same patch once more is not a change, and the watchers get no event.
    await patch(`${pods}/patched/status`, { metadata: { annotations: { 'example.com/c': 'd' } } });
    expect((await get('patched')).metadata.resourceVersion).toBe(after.metadata.resourceVersion);
    await remove('patched');
  });

  it('refuses with a reason', async () => {
    await create('there');
    expect(await refusal(create('there'))).toMatchObject({ code: 409, reason: 'AlreadyExists' });
    const missing = await refusal(get('nowhere'));
    expect(missing).toMatchObject({ code: 404, reason: 'NotFound' });
    expect(missing.message).toContain('pods "nowhere" not found');
    const other = await refusal(patch(`${pods}/there/status`, { metadata: { uid: randomUUID() } }));
    expect([409, 422]).toContain(other.code);
    const stale = await refusal(patch(`${pods}/there`, { metadata: { resourceVersion: '1', labels: { a: 'b' } } }));
    expect(stale).toMatchObject({ code: 409, reason: 'Conflict' });
    expect(await refusal(patch(`${pods}/there`, {}, 'application/json'))).toMatchObject({ code: 415 });
    expect(await refusal(listPods({ fieldSelector: 'spec.nonsense=1' }))).toMatchObject({ code: 400 });
    const stranger = ApiClient.open({
      ...target,
      credentials: async () => ({ ...(await target.credentials()), headers: { authorization: 'Bearer wrong' } }),
    });
    const asked = Effect.flatMap(stranger, (by) => by.request({ method: 'GET', path: PODS.path }));
    const unknown = await refusal(Effect.runPromise(Effect.scoped(asked)));
    expect(unknown).toMatchObject({ code: 401, reason: 'Unauthorized' });
    await remove('there');
  });

  it('serves our own client: a copy, an annotation, an event', async () => {
    const copy = reflect({
      client,
      resource: PODS,
      fieldSelector: selector,
      trim: ({ metadata }) => ({ name: metadata.name, annotations: metadata['annotations'] }),
    });
    const reflector = await Effect.runPromise(Scope.provide(copy, scope));
    await Effect.runPromise(reflector.synced);
    const { uid } = (await create('ours')).metadata;
    const ours = { namespace: run, name: 'ours', uid };
    const annotate = (value: string | null) =>
      Effect.runPromise(patchPodAnnotation(client, ours, 'ambient.istio.io/redirection', value));
    expect(await annotate('enabled')).toBe('patched');
    const enabled = { name: 'ours', annotations: { 'ambient.istio.io/redirection': 'enabled' } };
    await expect.poll(() => reflector.objects.get(uid)).toEqual(enabled);
    const recorder = new PodEvents({ client, component: 'sluice', host: node });
    const event = { type: 'Warning', reason: 'NotEnrolled', message: 'the pod has a sidecar' } as const;
    expect(await Effect.runPromise(recorder.record(ours, event))).toBe('created');
    expect(await Effect.runPromise(recorder.record(ours, event))).toBe('withheld');
    const path = `/api/v1/namespaces/${run}/events`;
    const query = { fieldSelector: `involvedObject.uid=${uid}` };
    const { items } = (await ask({ method: 'GET', path, query })) as { items: unknown[] };
    expect(items).toMatchObject([{ reason: 'NotEnrolled', count: 1, source: { component: 'sluice', host: node } }]);
    await remove('ours');
    await create('ours');
    await expect.poll(() => reflector.objects.has(uid)).toBe(false);
    expect(await annotate(null)).toBe('gone');
    await remove('ours');
    expect(await annotate(null)).toBe('gone');
  });
});
