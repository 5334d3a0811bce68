// The guard as the agent's service, on a real datapath: what goes wrong with it is said, and tried again.
import { rmSync, symlinkSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { Guard } from '@sluice/datapath';
import { TestNode, requires, type Cgroup } from '@sluice/testbed';
import * as Effect from 'effect/Effect';
import * as Layer from 'effect/Layer';
import * as Result from 'effect/Result';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Enforcement, NodeGuard, resolveConfig, type GuardFacts } from '../src/index.js';
import { datapathEnforcement } from '../src/node/enforcement.js';
import { nodeGuard } from '../src/node/guard.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');

interface Guarded {
  readonly guard: NodeGuard['Service'];
  readonly facts: GuardFacts;
  readonly pods: Cgroup;
  /** Where its links are pinned. */
  readonly directory: string;
}

describe.skipIf(need.skip)(`the guard as a service${need.label}`, () => {
  afterEach(() => vi.restoreAllMocks());

  async function onNode(
    use: (guarded: Guarded, pinMaps: Effect.Effect<void, unknown>) => Effect.Effect<void, unknown>,
  ) {
    await using node = await TestNode.create();
    const paths = { bpffs: await node.bpffs() };
    const config = Result.getOrThrow(resolveConfig({ paths, guard: { podLogs: '/var/log/pods' } }, 'this test'));
    const pods = node.cgroup.child('kubepods');
    const facts = {
      namespaces: ['shop'],
      podsParents: [pods.id],
      reachable: [[7n, 0n]],
      awaited: [],
      present: new Map(),
      out: [],
    } as const;
    const layers = Layer.mergeAll(datapathEnforcement(config, node.cgroup.path), nodeGuard(config, node.cgroup.path));
    const directory = join(paths.bpffs, 'sluice/guard');
    await Effect.runPromise(
      Effect.scoped(
        Effect.provide(
          Effect.gen(function* () {
            const guard = yield* NodeGuard;
            yield* use({ guard, facts, pods, directory }, (yield* Enforcement).pinMaps);
          }),
          layers,
        ),
      ),
    );
  }
  const saidBy = (guard: NodeGuard['Service']): Effect.Effect<string> =>
    Effect.map(guard.disturbed, (parts) => parts.map(({ what }) => what).join('\n'));

  it('is read again when it could not be read once, and knows of the pods meanwhile', async () => {
    vi.spyOn(Guard.prototype, 'events').mockImplementationOnce(() => {
      throw new Error('pthread_create: EAGAIN');
    });
    await onNode(({ guard, facts, pods }, pinMaps) =>
      Effect.gen(function* () {
        yield* pinMaps;
        const seen: string[] = [];
        guard.listen((batch) => {
          for (const event of batch) if (event.kind === 'cgroup-made') seen.push(event.path);
        });
        const first = yield* guard.keep(facts);
        expect(first).toMatchObject({ isUntold: true, reachable: new Set([7n]) });
        expect(first.problems.join('\n')).toMatch(/the guard cannot be read: .*EAGAIN/);
        expect(yield* saidBy(guard)).toMatch(/the guard cannot be read: .*EAGAIN/);
        expect(yield* guard.keep(facts)).toMatchObject({ isUntold: false });
        expect(yield* guard.disturbed).toEqual([]);
        const { hierarchyPath } = pods.child('besteffort');
        yield* Effect.promise(() => expect.poll(() => seen).toContain(hierarchyPath));
      }),
    );
  });

  it('is not there while it cannot be opened, says so, and is opened by the next pass', async () => {
    await onNode(({ guard, facts }, pinMaps) =>
      Effect.gen(function* () {
        yield* guard.begin(facts);
        expect(yield* saidBy(guard)).toMatch(/the guard cannot be attached: .*Pin the maps of the datapath first/);
        const kept = yield* guard.keep(facts);
        expect(kept).toMatchObject({ isUntold: true, reachable: new Set() });
        expect(kept.problems.join('\n')).toMatch(/the guard cannot be attached: .*; a new pod is not held before/);
        expect(yield* saidBy(guard)).toMatch(/the guard cannot be attached: /);
        yield* pinMaps;
        expect(yield* guard.keep(facts)).toMatchObject({ isUntold: false, reachable: new Set([7n]) });
        expect(yield* guard.disturbed).toEqual([]);
      }),
    );
  });

  it('that cannot be told of the pods lets none be let go, says so, and is told by the next pass', async () => {
    vi.spyOn(Guard.prototype, 'setReachable').mockImplementationOnce(() => {
      throw new Error('bpf(BPF_MAP_UPDATE_ELEM): ENOMEM');
    });
    await onNode(({ guard, facts }, pinMaps) =>
      Effect.gen(function* () {
        yield* pinMaps;
        expect(yield* guard.keep(facts)).toMatchObject({ isUntold: true, reachable: new Set() });
        expect(yield* saidBy(guard)).toMatch(/the guard cannot be told of the pods: .*ENOMEM/);
        expect(yield* guard.keep(facts)).toMatchObject({ isUntold: false, reachable: new Set([7n]) });
        expect(yield* guard.disturbed).toEqual([]);
      }),
    );
  });

  it('that cannot be pinned again goes on, says so, and is pinned by the next pass', async () => {
    await onNode(({ guard, facts, directory }, pinMaps) =>
      Effect.gen(function* () {
        yield* pinMaps;
        yield* guard.keep(facts);
        const before = guard.attached();
        rmSync(directory, { recursive: true });
        // No directory can be made there.
        symlinkSync('nowhere', directory);
        const kept = yield* guard.keep(facts);
        expect(kept).toMatchObject({ isUntold: true, reachable: new Set([7n]) });
        expect(kept.problems.join('\n')).toMatch(/the guard cannot be put back: .*mkdir/);
        expect(yield* saidBy(guard)).toMatch(
          /the guard cannot be put back: .*mkdir[^]*the guard’s mkdirat is not pinned/,
        );
        expect(guard.attached()).toEqual(before);
        unlinkSync(directory);
        expect(yield* guard.keep(facts)).toMatchObject({ isUntold: false });
        expect(yield* guard.disturbed).toEqual([]);
        expect(guard.attached()).toEqual(before);
      }),
    );
  });
});
