// Writes of the annotation and of Events, to a server in trouble, and with exactly the rights that they need.
import * as Effect from 'effect/Effect';
import * as Fiber from 'effect/Fiber';
import * as TestClock from 'effect/testing/TestClock';
import { describe, expect, it } from 'vitest';
import type { KubernetesApi } from '@sluice/testbed';
import {
  patchPodAnnotation,
  PodEvents,
  type ApiClient,
  type ApiClientOptions,
  type PodEvent,
  type PodReference,
  type RetryOptions,
} from '../src/index.js';
import { access, closing, connect, podTemplate, startApi } from './harness.js';

const closer = closing();
const KEY = 'ambient.istio.io/redirection';
const quick = { backOff: { baseMs: 1, capMs: 4 } };
const annotate = (
  client: ApiClient,
  pod: PodReference,
  value: string | null,
  options: RetryOptions = quick,
): Promise<'patched' | 'gone'> => Effect.runPromise(patchPodAnnotation(client, pod, KEY, value, options));

async function setUp(
  options?: ApiClientOptions,
): Promise<{ api: KubernetesApi; client: ReturnType<typeof connect>; pod: PodReference }> {
  const api = await startApi(closer);
  const { metadata } = api.create('Pod', podTemplate('shop-0'));
  api.allow('agent', {
    name: 'system:serviceaccount:istio-system:sluice',
    rules: [
      { apiGroups: [''], resources: ['pods/status'], verbs: ['patch'] },
      { apiGroups: [''], resources: ['events'], verbs: ['create'] },
    ],
  });
  const client = connect(closer, access(api, 'agent'), options);
  return { api, client, pod: { namespace: 'default', name: 'shop-0', uid: metadata.uid } };
}

const annotations = (api: KubernetesApi): unknown =>
  api.get('Pod', { namespace: 'default', name: 'shop-0' })?.metadata.annotations;

describe('patchPodAnnotation', () => {
  it('sets and removes one annotation, leaves the others alone, and needs no other right', async () => {
    const { api, client, pod } = await setUp();
    api.patch('Pod', pod, { metadata: { annotations: { theirs: 'x' } } });
    expect(await annotate(client, pod, 'enabled')).toBe('patched');
    expect(annotations(api)).toEqual({ theirs: 'x', [KEY]: 'enabled' });
    expect(await annotate(client, pod, null)).toBe('patched');
    expect(annotations(api)).toEqual({ theirs: 'x' });
    expect(api.requests.map(({ verb, resource, code }) => [verb, resource, code])).toEqual([
      ['patch', 'pods/status', 200],
      ['patch', 'pods/status', 200],
    ]);
  });

  it.each([
    ['429', { kind: 'status', code: 429, retryAfterSeconds: 0 }],
    ['500', { kind: 'status', code: 500 }],
    ['503', { kind: 'status', code: 503 }],
    ['a cut in the head of the answer', { kind: 'drop', afterBytes: 10 }],
    ['a cut in the body of the answer', { kind: 'drop', afterBytes: 300 }],
    ['silence', { kind: 'silence' }],
    ['garbage', { kind: 'garbage' }],
  ] as const)('tries again after %s', async (_name, fault) => {
    const isSilence = fault.kind === 'silence';
    const { api, client, pod } = await setUp(isSilence ? { silenceMs: 500 } : undefined);
    api.faults.inject(fault, { verb: 'patch', times: 2 });
    expect(await annotate(client, pod, 'enabled')).toBe('patched');
    expect(annotations(api)).toEqual({ [KEY]: 'enabled' });
    expect(api.faults.waiting).toBe(0);
    // On a busy machine any request may be answered only after that silence, and is then made again.
    if (!isSilence) expect(api.requests).toHaveLength(3);
  });

  it('gives up after the given number of attempts, with the last error', async () => {
    const { api, client, pod } = await setUp();
    api.faults.inject({ kind: 'status', code: 500 }, { times: Infinity });
    const attempt = annotate(client, pod, 'enabled', { ...quick, attempts: 3 });
    await expect(attempt).rejects.toMatchObject({ code: 500, reason: 'InternalError' });
    expect(api.requests).toHaveLength(3);
  });

  it('does not repeat a request that is forbidden, and says which right is missing', async () => {
    const { api, pod } = await setUp();
    api.allow('narrow', {
      name: 'someone',
      rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['*'] }],
    });
    const client = connect(closer, access(api, 'narrow'));
    await expect(annotate(client, pod, 'enabled')).rejects.toThrow(
      'pods "shop-0" is forbidden: User "someone" cannot patch resource "pods/status" in API group "" in the namespace "default"',
    );
    expect(api.requests).toHaveLength(1);
  });

  it('returns gone for a pod that no longer exists, and leaves its namesake alone', async () => {
    const { api, pod } = await setUp();
    const client = connect(closer, access(api));
    api.remove('Pod', pod);
    expect(await annotate(client, pod, 'enabled')).toBe('gone');
    api.create('Pod', podTemplate('shop-0'));
    expect(await annotate(client, pod, 'enabled')).toBe('gone');
    expect(annotations(api)).toBeUndefined();
  });

  it('ends when it is interrupted, in a request or in a wait', async () => {
    const { api, client, pod } = await setUp();
    for (const fault of [{ kind: 'silence' }, { kind: 'status', code: 503, retryAfterSeconds: 300 }] as const) {
      api.faults.inject(fault);
      const patching = Effect.gen(function* () {
        const patched = yield* Effect.forkChild(patchPodAnnotation(client, pod, KEY, 'enabled'));
        yield* Effect.promise(() => expect.poll(() => api.faults.waiting).toBe(0));
        yield* Fiber.interrupt(patched);
      });
      await Effect.runPromise(patching);
    }
    expect(annotations(api)).toBeUndefined();
  });
});

describe('PodEvents', () => {
  const event = { type: 'Warning', reason: 'NotEnrolled', message: 'no' } as const;
  const record = (events: PodEvents, pod: PodReference, told: PodEvent): Promise<'created' | 'withheld'> =>
    Effect.runPromise(events.record(pod, told));

  it('writes one Event of a reason and pod in the quiet time, and then how often it came up', async () => {
    const { api, client, pod } = await setUp();
    const events = new PodEvents({ client, component: 'sluice', host: 'node-a', quietMs: 1000 });
    const telling = Effect.gen(function* () {
      yield* TestClock.setTime(Date.parse('2026-01-01T00:00:00.5Z'));
      const both = yield* Effect.all([events.record(pod, event), events.record(pod, event)], { concurrency: 2 });
      expect(both.sort()).toEqual(['created', 'withheld']);
      expect(yield* events.record(pod, { ...event, reason: 'Other' })).toBe('created');
      expect(yield* events.record({ ...pod, uid: 'another' }, event)).toBe('created');
      yield* TestClock.adjust(1000);
      expect(yield* events.record(pod, event)).toBe('created');
    });
    await Effect.runPromise(Effect.provide(telling, TestClock.layer()));
    const told = api.list('Event').filter((object) => object['count'] === 2);
    expect(told).toMatchObject([
      {
        type: 'Warning',
        reason: 'NotEnrolled',
        involvedObject: { kind: 'Pod', namespace: 'default', name: 'shop-0', uid: pod.uid },
        firstTimestamp: '2026-01-01T00:00:00Z',
        lastTimestamp: '2026-01-01T00:00:01Z',
        source: { component: 'sluice', host: 'node-a' },
      },
    ]);
    expect(api.list('Event')).toHaveLength(4);
  });

  it('does not remember an Event that could not be written', async () => {
    const { api, client, pod } = await setUp();
    const events = new PodEvents({ client, component: 'sluice', host: 'node-a', ...quick, attempts: 2 });
    api.faults.inject({ kind: 'status', code: 500 }, { times: 2 });
    await expect(record(events, pod, event)).rejects.toMatchObject({ code: 500 });
    expect(await record(events, pod, event)).toBe('created');
  });

  it('writes one Event when the answer to it was lost', async () => {
    const { api, client, pod } = await setUp();
    api.faults.inject({ kind: 'drop', afterBytes: 50 }, { verb: 'create' });
    const events = new PodEvents({ client, component: 'sluice', host: 'node-a', ...quick });
    expect(await record(events, pod, event)).toBe('created');
    expect(api.list('Event')).toHaveLength(1);
  });

  it('cuts a message that is too long between two characters', async () => {
    const { api, client, pod } = await setUp();
    await record(new PodEvents({ client, component: 'sluice', host: 'node-a' }), pod, {
      ...event,
      message: 'ü'.repeat(2000),
    });
    const message = String(api.list('Event')[0]?.['message']);
    expect(message).toBe(`${'ü'.repeat(510)}...`);
  });

  it('gives an Event a name that a server accepts, for any name of a pod', async () => {
    const { api, client, pod } = await setUp();
    const events = new PodEvents({ client, component: 'sluice', host: 'node-a' });
    for (const name of [`${'a'.repeat(235)}-${'b'.repeat(17)}`, `${'a'.repeat(234)}.x`, 'a'])
      await record(events, { ...pod, name, uid: name }, event);
    for (const { metadata } of api.list('Event')) {
      expect(metadata.name).toMatch(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/);
      expect(metadata.name.length).toBeLessThanOrEqual(253);
    }
  });
});
