// Which announcements `sluice cleanup` withdraws, and which pods it names if it cannot.
import { KubernetesApi } from '@sluice/testbed';
import * as Duration from 'effect/Duration';
import * as Effect from 'effect/Effect';
import * as Fiber from 'effect/Fiber';
import * as TestClock from 'effect/testing/TestClock';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { REDIRECTION_ANNOTATION, withdrawAnnouncements } from '../src/index.js';

const NODE = 'node-1';
let api: KubernetesApi;
let directory: string;

beforeEach(async () => {
  api = await KubernetesApi.start();
  directory = mkdtempSync(join(tmpdir(), 'sluice-withdraw-'));
  writeFileSync(join(directory, 'config'), api.kubeconfig());
  for (const [name, nodeName, value] of [
    ['cart', NODE, 'enabled'],
    ['till', NODE, 'pending'],
    ['silent', NODE, undefined],
    ['elsewhere', 'node-2', 'enabled'],
  ] as const)
    api.create('Pod', {
      metadata: {
        name,
        namespace: 'shop',
        annotations: value === undefined ? {} : { [REDIRECTION_ANNOTATION]: value },
      },
      spec: { nodeName, containers: [{ name: 'c', image: 'c' }] },
    });
});

afterEach(async () => {
  rmSync(directory, { recursive: true });
  await api.close();
});

const withdraw = Effect.suspend(() =>
  withdrawAnnouncements({
    nodeName: NODE,
    inventory: {
      source: 'kubernetes',
      directory,
      kubeconfig: join(directory, 'config'),
      watchSilence: Duration.seconds(120),
    },
  }),
);
const announced = (): string[] =>
  api
    .list('Pod')
    .filter(({ metadata }) => REDIRECTION_ANNOTATION in ((metadata['annotations'] as object | undefined) ?? {}))
    .map(({ metadata }) => metadata.name);
const stays = (pod: string, why: string): unknown =>
  expect.stringMatching(new RegExp(`^the annotation ${REDIRECTION_ANNOTATION} of pod shop/${pod} stays: ${why}; `));

describe('the withdrawal', () => {
  it('removes the annotations of the pods of this node', async () => {
    expect(await Effect.runPromise(withdraw)).toEqual({ withdrawn: ['shop/cart', 'shop/till'], problems: [] });
    expect(announced()).toEqual(['elsewhere']);
  });

  it('names the pod whose annotation stays, and why', async () => {
    api.faults.inject({ kind: 'status', code: 403 }, { verb: 'patch' });
    expect(await Effect.runPromise(withdraw)).toEqual({
      withdrawn: ['shop/till'],
      problems: [stays('cart', '.*: 403 .*')],
    });
    expect(announced()).toEqual(['cart', 'elsewhere']);
  });

  it('names every pod that is left when its time is up', async () => {
    api.faults.inject({ kind: 'silence' }, { verb: 'patch', times: Infinity });
    const program = Effect.gen(function* () {
      const withdrawing = yield* Effect.forkChild(withdraw);
      yield* Effect.promise(() => expect.poll(() => api.requests.map(({ verb }) => verb)).toContain('patch'));
      yield* TestClock.adjust('15 seconds');
      return yield* Fiber.join(withdrawing);
    });
    const why = 'the API server has not answered within 15 s';
    expect(await Effect.runPromise(Effect.provide(program, TestClock.layer()))).toEqual({
      withdrawn: [],
      problems: [stays('cart', why), stays('till', why)],
    });
  });

  it('reports the whole node if there is no server', async () => {
    await api.away();
    const { withdrawn, problems } = await Effect.runPromise(withdraw);
    expect([withdrawn, problems]).toEqual([
      [],
      [expect.stringContaining(`of pods of node ${NODE} may stay: GET /api/v1/pods: Unreachable: `)],
    ]);
    await api.back();
  });
});
