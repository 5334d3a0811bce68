// The machinery around the pure parts: buffers that do not grow, passes that do not overlap, failures that do not end the agent.
import * as Context from 'effect/Context';
import * as Deferred from 'effect/Deferred';
import * as Effect from 'effect/Effect';
import * as Fiber from 'effect/Fiber';
import * as Stream from 'effect/Stream';
import { BpfError } from '@sluice/libbpf';
import { Observable, of, Subject, throwError } from 'rxjs';
import * as TestClock from 'effect/testing/TestClock';
import { describe, expect, it, vi } from 'vitest';
import {
  fromObservable,
  makeReconciler,
  reportFailures,
  settledCgroups,
  type PassResult,
  type StreamOverrun,
} from '../src/index.js';
import { nothingDone } from './nothing-done.js';
import { enrolWorld, pod, workload } from './world.js';

/** Lets others run until something is so. */
const until = (isSo: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => (isSo() ? Effect.void : Effect.andThen(Effect.sleep(1), until(isSo))));

describe('fromObservable', () => {
  it('emits what the source emits, and ends with it', async () => {
    const all = await Effect.runPromise(Stream.runCollect(fromObservable(of(1, 2, 3), { capacity: 8 })));
    expect(all).toEqual([1, 2, 3]);
  });

  it('fails with the source’s error', async () => {
    const error = new Error('no such socket');
    const failure = await Effect.runPromise(
      Effect.flip(
        Stream.runDrain(
          fromObservable(
            throwError(() => error),
            { capacity: 8 },
          ),
        ),
      ),
    );
    expect(failure).toBe(error);
  });

  it('reports a loss in its place with its number, even if nothing follows', async () => {
    const subject = new Subject<number>();
    const seen: (number | StreamOverrun)[] = [];
    const program = Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(
        Stream.runForEach(fromObservable(subject, { capacity: 3 }), (one) => Effect.sync(() => void seen.push(one))),
      );
      yield* until(() => subject.observed);
      // The source emits everything at once, and the consumer cannot run in between.
      for (let value = 0; value < 10; value++) subject.next(value);
      yield* until(() => seen.length >= 4);
      subject.next(10);
      yield* until(() => seen.length >= 5);
      yield* Fiber.interrupt(fiber);
    });
    await Effect.runPromise(program);
    expect(seen).toEqual([0, 1, 2, { kind: 'stream-overrun', lost: 7 }, 10]);
    expect(subject.observed).toBe(false);
  });

  it('unsubscribes when it is interrupted', async () => {
    let isOpen = false;
    const source = new Observable<never>(() => {
      isOpen = true;
      return () => void (isOpen = false);
    });
    const program = Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(Stream.runDrain(fromObservable(source, { capacity: 1 })));
      yield* until(() => isOpen);
      yield* Fiber.interrupt(fiber);
    });
    await Effect.runPromise(program);
    expect(isOpen).toBe(false);
  });
});

/** The passes of these tests use no services. */
const bare = <A>(effect: Effect.Effect<A>): Promise<A> => Effect.runPromise(effect);
const withoutServices = <A, R>(effect: Effect.Effect<A, never, R>): Effect.Effect<A> =>
  Effect.provideContext(effect, Context.empty() as Context.Context<R>);

describe('the reconciler', () => {
  it('runs one pass at a time, and one more for all requests during it', async () => {
    let running = 0;
    let most = 0;
    const reasons: string[][] = [];
    const program = Effect.gen(function* () {
      const open = yield* Deferred.make<void>();
      const reconciler = yield* makeReconciler({
        pass: () =>
          Effect.gen(function* () {
            running += 1;
            most = Math.max(most, running);
            yield* Deferred.await(open);
            running -= 1;
            return nothingDone;
          }),
        onPass: (_result, why) => Effect.sync(() => void reasons.push([...why])),
        onFailure: () => Effect.void,
        resyncIntervalMs: 3_600_000,
      });
      const fiber = yield* Effect.forkChild(withoutServices(reconciler.run(nothingDone)));
      reconciler.request('inventory');
      yield* until(() => running > 0);
      for (let count = 0; count < 100; count++) reconciler.request(count % 2 === 0 ? 'pod-process' : 'inventory');
      yield* Deferred.succeed(open, undefined);
      yield* until(() => reasons.length >= 2);
      // A request that is left of the hundred would come with this one, or before it.
      reconciler.request('kubelet');
      yield* until(() => reasons.length >= 3);
      yield* Fiber.interrupt(fiber);
    });
    await bare(program);
    expect(most).toBe(1);
    expect(reasons).toEqual([['inventory'], ['pod-process', 'inventory'], ['kubelet']]);
  });

  it('pauses after passes that took long, except for a pod that starts', async () => {
    const clock = vi.spyOn(performance, 'now');
    let now = 0;
    clock.mockImplementation(() => now);
    const reasons: string[][] = [];
    const program = Effect.gen(function* () {
      const reconciler = yield* makeReconciler({
        pass: () =>
          Effect.sync(() => {
            now += 10_000;
            return nothingDone;
          }),
        onPass: (_result, why) => Effect.sync(() => void reasons.push([...why])),
        onFailure: () => Effect.void,
        resyncIntervalMs: 3_600_000,
      });
      yield* Effect.forkChild(withoutServices(reconciler.run(nothingDone)));
      const request = (why: 'inventory' | 'pod-start'): Effect.Effect<void> =>
        Effect.andThen(
          Effect.sync(() => reconciler.request(why)),
          TestClock.adjust(30),
        );
      yield* request('inventory');
      yield* request('inventory');
      expect(reasons).toEqual([['inventory']]);
      // It ends the pause, and takes along what waits; it is not forgotten when it comes before the pause.
      yield* request('pod-start');
      expect(reasons).toEqual([['inventory'], ['inventory', 'pod-start']]);
      reconciler.request('inventory');
      yield* request('pod-start');
      expect(reasons.slice(2)).toEqual([['inventory', 'pod-start']]);
      yield* request('inventory');
      expect(reasons).toHaveLength(3);
      yield* TestClock.adjust(1000);
      expect(reasons.slice(3)).toEqual([['inventory']]);
    });
    try {
      await Effect.runPromise(Effect.provide(program, TestClock.layer()));
    } finally {
      clock.mockRestore();
    }
  });

  it('lets what is not urgent wait for others, and runs at once when anything else comes', async () => {
    const reasons: string[][] = [];
    const program = Effect.gen(function* () {
      const reconciler = yield* makeReconciler({
        pass: () => Effect.succeed(nothingDone),
        onPass: (_result, why) => Effect.sync(() => void reasons.push([...why])),
        onFailure: () => Effect.void,
        resyncIntervalMs: 3_600_000,
      });
      yield* Effect.forkChild(withoutServices(reconciler.run(nothingDone)));
      reconciler.request('pod-cgroup');
      yield* TestClock.adjust(10);
      reconciler.request('inventory');
      yield* TestClock.adjust(10);
      expect(reasons).toEqual([]);
      yield* TestClock.adjust(10);
      expect(reasons).toEqual([['pod-cgroup', 'inventory']]);
      reconciler.request('inventory');
      yield* TestClock.adjust(10);
      reconciler.request('zds');
      yield* TestClock.adjust(1);
      expect(reasons.slice(1)).toEqual([['inventory', 'zds']]);
    });
    await Effect.runPromise(Effect.provide(program, TestClock.layer()));
  });

  it('reports failures, even unforeseen ones, and tries again by itself', async () => {
    const failures: string[] = [];
    let passes = 0;
    const program = Effect.gen(function* () {
      const reconciler = yield* makeReconciler({
        pass: (): Effect.Effect<PassResult, { readonly _tag: 'Broken'; readonly message: string }> => {
          passes += 1;
          if (passes === 1) return Effect.fail({ _tag: 'Broken' as const, message: 'it broke' });
          if (passes === 2) return Effect.die(new TypeError('undefined is not a function'));
          return Effect.succeed(nothingDone);
        },
        onPass: () => Effect.void,
        onFailure: ({ kind, message }) => Effect.sync(() => void failures.push(`${kind}: ${message}`)),
        resyncIntervalMs: 3_600_000,
      });
      const fiber = yield* Effect.forkChild(withoutServices(reconciler.run(nothingDone)));
      reconciler.request('inventory');
      yield* until(() => passes >= 3);
      yield* Fiber.interrupt(fiber);
    });
    await bare(program);
    expect(failures).toEqual(['Broken: it broke', 'defect: undefined is not a function']);
  });

  it('owes a thorough pass until one has succeeded', async () => {
    const passes: boolean[] = [];
    const program = Effect.gen(function* () {
      const reconciler = yield* makeReconciler({
        pass: (isThorough): Effect.Effect<PassResult, { readonly _tag: 'Broken'; readonly message: string }> => {
          passes.push(isThorough);
          if (passes.length < 3) return Effect.fail({ _tag: 'Broken' as const, message: 'it broke' });
          return Effect.succeed({ ...nothingDone, isIncomplete: passes.length < 5 });
        },
        onPass: () => Effect.void,
        onFailure: () => Effect.void,
        resyncIntervalMs: 3_600_000,
      });
      const fiber = yield* Effect.forkChild(withoutServices(reconciler.run(nothingDone)));
      reconciler.request('kubelet');
      yield* until(() => passes.length >= 5);
      yield* Fiber.interrupt(fiber);
    });
    await bare(program);
    expect(passes.slice(0, 5)).toEqual([true, true, true, false, false]);
  });

  it('runs a pass when the last one has said that it is due, although nothing happens', async () => {
    const reasons: string[][] = [];
    const program = Effect.gen(function* () {
      const reconciler = yield* makeReconciler({
        pass: () => Effect.succeed({ ...nothingDone, dueMs: reasons.length < 2 ? 1 : undefined }),
        onPass: (_result, why) => Effect.sync(() => void reasons.push([...why])),
        onFailure: () => Effect.void,
        resyncIntervalMs: 3_600_000,
      });
      const fiber = yield* Effect.forkChild(withoutServices(reconciler.run({ ...nothingDone, dueMs: 1 })));
      yield* until(() => reasons.length >= 3);
      yield* Fiber.interrupt(fiber);
    });
    await bare(program);
    expect(reasons).toEqual([['retry'], ['retry'], ['retry']]);
  });
});

describe('the result of a pass', () => {
  it('assigns a refused entry to its pod', () => {
    const { desired } = enrolWorld({ pods: [pod('a', { ips: ['10.0.0.2'] })], workloads: [workload('a', 100n, 7n)] });
    const error = new BpfError('map cgroup_info_map is full (max_entries 2); raise its capacity', {
      code: 'E2BIG',
      errno: 7,
      syscall: 'bpf',
    });
    const key = Buffer.alloc(8);
    key.writeBigUInt64LE(101n);
    const cookie = Buffer.alloc(8);
    cookie.writeBigUInt64LE(7n);
    const addresses = new BpfError('map own_addresses is full', { code: 'E2BIG', errno: 7, syscall: 'bpf' });
    const ips = new BpfError('map local_pods is full', { code: 'E2BIG', errno: 7, syscall: 'bpf' });
    const report = reportFailures(
      [
        { map: 'cgroup_info_map', key: key.toString('hex'), error },
        // An address of its network namespace, by the namespace's cookie.
        { map: 'own_addresses', key: `${cookie.toString('hex')}${'00'.repeat(16)}`, error: addresses },
        // One of its IPs.
        { map: 'local_pods', key: `${'00'.repeat(10)}ffff0a000002`, error: ips },
        { map: 'settings', key: '00000000', error },
      ],
      desired,
    );
    const sentence = 'not enrolled as it should be: map cgroup_info_map is full (max_entries 2); raise its capacity';
    expect(report).toEqual({
      byWorkload: new Map([
        [
          100n,
          [
            sentence,
            'not enrolled as it should be: map own_addresses is full',
            'not enrolled as it should be: map local_pods is full',
          ],
        ],
      ]),
      withoutNetns: new Set(),
      others: [sentence],
      kinds: ['map-full', 'map-full', 'map-full', 'map-full'],
    });
  });

  it('keeps watching the cgroups of pods that are not fully enrolled', () => {
    const pods = [pod('whole', { ips: ['10.0.0.2'] }), pod('part'), pod('outside', { namespace: 'plain' })];
    const workloads = [workload('whole', 100n, 7n), workload('part', 200n), workload('outside', 300n)];
    const { statuses } = enrolWorld({ pods, workloads });
    const settled = settledCgroups({ ...nothingDone, statuses, known: new Map([['whole', new Set([5n])]]) });
    const podLevel = (uid: string): string => `/cg/kubepods/besteffort/pod${uid}`;
    expect(['whole', 'part', 'outside'].map((uid) => settled.has(podLevel(uid)))).toEqual([true, false, true]);
    expect(['whole', 'outside'].map((uid) => settled.get(podLevel(uid))?.netns)).toEqual([new Set([5n]), undefined]);
  });
});
