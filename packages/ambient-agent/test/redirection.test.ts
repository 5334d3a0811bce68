// The annotation of pods: the value for each state, and a writer that arrives at what is wanted, whatever fails and whoever
// else writes.
import { ApiError, type PodReference } from '@sluice/kubernetes';
import * as Deferred from 'effect/Deferred';
import * as Effect from 'effect/Effect';
import * as Fiber from 'effect/Fiber';
import type * as Scope from 'effect/Scope';
import * as TestClock from 'effect/testing/TestClock';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  makeRedirectionWriter,
  redirectionOf,
  type Redirection,
  type RedirectionWish,
  type RedirectionWriter,
} from '../src/index.js';

const UNAVAILABLE = new ApiError('PATCH', { code: 503, reason: 'Unavailable', message: 'later' });

/** The API server, and the inventory that shows its changes later, for annotations only. */
class Cluster {
  readonly there = new Map<string, string | undefined>();
  readonly writes: string[] = [];
  readonly failures: ApiError[] = [];
  /** What each of the next writes does before the write, or instead of it. */
  readonly answers: ('fail' | 'gone' | Effect.Effect<void>)[] = [];
  readonly opened = makeRedirectionWriter({
    patch: (pod, value) => Effect.suspend(() => this.#patch(pod, value)),
    onFailure: (_pod, error) => Effect.sync(() => this.failures.push(error)),
  });

  wish(uid: string, wanted: Redirection, seen = this.there.get(uid)): RedirectionWish {
    return { pod: { uid, namespace: 'shop', name: uid }, wanted, seen };
  }

  #patch({ uid }: PodReference, value: Redirection): Effect.Effect<'patched' | 'gone', ApiError> {
    const answer = this.answers.shift() ?? Effect.void;
    if (answer === 'fail') return Effect.fail(UNAVAILABLE);
    if (answer === 'gone') return Effect.succeed('gone');
    return Effect.map(answer, () => {
      this.there.set(uid, value);
      this.writes.push(`${uid} ${value}`);
      return 'patched';
    });
  }
}

/** Longer than the time before `pending` is written, and than the first wait after a failure. */
const SOON_MS = 3000;

interface Told {
  readonly cluster: Cluster;
  readonly writer: RedirectionWriter;
  /** Passes the wishes on, and lets some time pass. */
  readonly want: (...wishes: RedirectionWish[]) => Effect.Effect<void>;
}

const run = <A>(program: Effect.Effect<A, never, Scope.Scope>): Promise<A> =>
  Effect.runPromise(Effect.provide(Effect.scoped(program), TestClock.layer()));

const told = (test: (told: Told) => Generator<Effect.Effect<unknown>, void, never>): Promise<void> =>
  run(
    Effect.gen(function* () {
      const cluster = new Cluster();
      const writer = yield* cluster.opened;
      const want = (...wishes: RedirectionWish[]): Effect.Effect<void> =>
        Effect.andThen(writer.want(wishes), TestClock.adjust(SOON_MS));
      yield* Effect.gen(() => test({ cluster, writer, want }));
    }),
  );

describe('the annotation', () => {
  const cgroups = [{ path: '/kubepods/poda', id: '1' }];

  it.each([
    ['in', 'enabled'],
    ['pending', 'pending'],
    ['out', undefined],
    ['unknown', undefined],
  ] as const)('of a pod that is %s is %s', (state, value) =>
    expect(redirectionOf({ state, role: 'workload', cgroups })).toBe(value),
  );

  it('is absent from a pod that has no cgroup yet', () =>
    expect(redirectionOf({ state: 'pending', role: 'workload', cgroups: [] })).toBeUndefined());

  it('is never ztunnel’s', () => expect(redirectionOf({ state: 'in', role: 'ztunnel', cgroups })).toBeUndefined());
});

describe('the writer', () => {
  it('writes what is wanted once, and nothing if the pod has that already', () =>
    told(function* ({ cluster, want }) {
      cluster.there.set('b', 'enabled');
      for (let round = 0; round < 2; round += 1)
        yield* want(cluster.wish('a', 'enabled'), cluster.wish('b', 'enabled'), cluster.wish('c', undefined));
      expect(cluster.writes).toEqual(['a enabled']);
    }));

  it('does not take an inventory that does not show its write yet for somebody else’s write', () =>
    told(function* ({ cluster, want }) {
      yield* want(cluster.wish('a', 'enabled', undefined));
      yield* want(cluster.wish('a', 'enabled', undefined));
      expect(cluster.writes).toEqual(['a enabled']);
    }));

  it('writes pending only for a pod that has been pending for a second', () =>
    told(function* ({ cluster, writer }) {
      yield* writer.want([cluster.wish('a', 'pending'), cluster.wish('b', 'pending')]);
      yield* TestClock.adjust(999);
      yield* writer.want([cluster.wish('a', 'enabled'), cluster.wish('b', 'pending')]);
      yield* TestClock.adjust(0);
      expect(cluster.writes).toEqual(['a enabled']);
      yield* TestClock.adjust(1);
      expect(cluster.writes).toEqual(['a enabled', 'b pending']);
    }));

  it('tries again after a failure, and reports it meanwhile', () =>
    told(function* ({ cluster, writer, want }) {
      const released = yield* Deferred.make<void>();
      cluster.answers.push('fail', Deferred.await(released));
      yield* want(cluster.wish('a', 'enabled'));
      expect(writer.problems()).toEqual([
        'the annotation of pod shop/a is not what it ought to be: PATCH: 503 Unavailable: later',
      ]);
      yield* Deferred.succeed(released, undefined);
      yield* want(cluster.wish('a', 'enabled'));
      expect([cluster.there.get('a'), cluster.failures, writer.problems()]).toEqual(['enabled', [UNAVAILABLE], []]);
    }));

  it('takes a mistake of whoever writes for a failure, and goes on', () =>
    told(function* ({ cluster, writer, want }) {
      cluster.answers.push(Effect.die(new Error('a mistake')));
      yield* want(cluster.wish('a', 'enabled'));
      expect(cluster.failures.map(({ reason, message }) => [reason, message])).toEqual([
        ['Internal', 'PATCH: Internal: Error: a mistake'],
      ]);
      expect([cluster.writes, writer.problems()]).toEqual([['a enabled'], []]);
      yield* writer.withdraw([cluster.wish('a', undefined)]);
      expect(cluster.there.get('a')).toBeUndefined();
    }));

  it('waits longer after each failure, but not when something else is wanted', () =>
    told(function* ({ cluster, writer }) {
      cluster.answers.push('fail', 'fail', 'fail', 'fail');
      yield* writer.want([cluster.wish('a', 'enabled')]);
      const failures: number[] = [];
      // From 0.5 s to 1 s, then from 1 s to 2 s.
      for (const ms of [499, 501, 499, 1501]) {
        yield* TestClock.adjust(ms);
        failures.push(cluster.failures.length);
      }
      expect(failures).toEqual([1, 2, 2, 3]);
      yield* writer.want([cluster.wish('a', 'pending')]);
      yield* TestClock.adjust(0);
      expect(cluster.failures).toHaveLength(4);
    }));

  it('reports the same problem of many pods in one sentence', () =>
    told(function* ({ cluster, writer, want }) {
      cluster.answers.push('fail', 'fail', Effect.never, Effect.never);
      yield* want(cluster.wish('a', 'enabled'), cluster.wish('b', 'enabled'));
      expect(writer.problems()).toEqual([
        'the annotation of 2 pods, such as shop/a is not what it ought to be: PATCH: 503 Unavailable: later',
      ]);
    }));

  it('has removed the annotations when withdraw succeeds', () =>
    told(function* ({ cluster, writer, want }) {
      yield* want(cluster.wish('a', 'enabled'), cluster.wish('b', 'enabled'));
      yield* writer.withdraw([cluster.wish('a', undefined), cluster.wish('b', 'enabled')]);
      expect([cluster.there.get('a'), cluster.there.get('b')]).toEqual([undefined, 'enabled']);
    }));

  it('withdraws what an earlier agent announced', () =>
    told(function* ({ cluster, writer }) {
      cluster.there.set('a', 'enabled');
      yield* writer.withdraw([cluster.wish('a', undefined)]);
      expect(cluster.there.get('a')).toBeUndefined();
    }));

  it('withdraws what it was about to write', () =>
    told(function* ({ cluster, writer, want }) {
      const released = yield* Deferred.make<void>();
      cluster.answers.push(Deferred.await(released));
      yield* want(cluster.wish('a', 'enabled'));
      const withdrawn = yield* Effect.forkChild(writer.withdraw([cluster.wish('a', undefined)]));
      yield* TestClock.adjust(SOON_MS);
      expect(withdrawn.pollUnsafe()).toBeUndefined();
      yield* Deferred.succeed(released, undefined);
      yield* Fiber.join(withdrawn);
      expect(cluster.writes).toEqual(['a enabled', 'a undefined']);
    }));

  it('never announces in withdraw', () =>
    told(function* ({ cluster, writer, want }) {
      yield* want(cluster.wish('a', 'pending'));
      yield* writer.withdraw([cluster.wish('a', 'enabled')]);
      yield* TestClock.adjust(SOON_MS);
      expect(cluster.writes).toEqual(['a pending']);
    }));

  it('puts back once what somebody else changed, and then leaves it and reports it', () =>
    told(function* ({ cluster, writer, want }) {
      yield* want(cluster.wish('a', 'enabled'));
      for (let round = 0; round < 3; round += 1) {
        yield* want(cluster.wish('a', 'enabled'));
        cluster.there.set('a', undefined);
        yield* want(cluster.wish('a', 'enabled'));
      }
      expect(cluster.writes).toEqual(['a enabled', 'a enabled']);
      expect(writer.problems()[0]).toContain('somebody else removes it each time, and it is left so');
      // It is left until something else is wanted.
      cluster.there.set('a', 'enabled');
      yield* want(cluster.wish('a', undefined));
      expect([cluster.there.get('a'), writer.problems()]).toEqual([undefined, []]);
    }));

  it('notices a write that was overwritten before the inventory could show it', () =>
    told(function* ({ cluster, want }) {
      yield* want(cluster.wish('a', 'enabled'));
      cluster.there.set('a', undefined);
      yield* want(cluster.wish('a', 'enabled'));
      expect(cluster.writes).toHaveLength(1);
      yield* TestClock.adjust(60_000);
      yield* want(cluster.wish('a', 'enabled'));
      expect(cluster.there.get('a')).toBe('enabled');
    }));

  it('patches a pod that is gone only once', () =>
    told(function* ({ cluster, want }) {
      cluster.answers.push('gone');
      for (let round = 0; round < 3; round += 1) yield* want(cluster.wish('a', 'enabled', undefined));
      expect([cluster.answers, cluster.writes]).toEqual([[], []]);
    }));

  it('stops for a pod that is no longer among the wishes', () =>
    told(function* ({ cluster, writer }) {
      cluster.answers.push('fail');
      yield* writer.want([cluster.wish('a', 'enabled')]);
      yield* writer.want([]);
      yield* TestClock.adjust('1 hour');
      expect([cluster.failures.length, cluster.writes, writer.problems()]).toEqual([1, [], []]);
    }));

  it('abandons what is under way at the end, and writes nothing after that', () =>
    run(
      Effect.gen(function* () {
        const cluster = new Cluster();
        cluster.answers.push('fail', Effect.never);
        const writer = yield* Effect.scoped(
          Effect.tap(cluster.opened, (opened) =>
            Effect.andThen(
              opened.want([cluster.wish('a', 'enabled'), cluster.wish('b', 'enabled')]),
              TestClock.adjust(0),
            ),
          ),
        );
        yield* writer.want([cluster.wish('c', 'enabled')]);
        yield* TestClock.adjust('1 hour');
        expect([cluster.answers, cluster.writes]).toEqual([[], []]);
      }),
    ));

  it('arrives at what is wanted, whatever fails on the way', () => {
    const value = fc.constantFrom<Redirection[]>('enabled', 'pending', undefined);
    const step = fc.record({
      wanted: fc.dictionary(fc.constantFrom('a', 'b', 'c'), value),
      failures: fc.nat({ max: 3 }),
      withdraws: fc.boolean(),
      isStale: fc.boolean(),
      passesMs: fc.constantFrom(undefined, 0, 500, SOON_MS),
    });
    return fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 8 }), value, (steps, last) =>
        told(function* ({ cluster, writer }) {
          for (const { wanted, failures, withdraws, isStale, passesMs } of steps) {
            const stale = new Map(cluster.there);
            for (let failure = 0; failure < failures; failure += 1) cluster.answers.push('fail');
            const wishes = Object.entries(wanted).map(([uid, one]) =>
              cluster.wish(uid, one, isStale ? stale.get(uid) : cluster.there.get(uid)),
            );
            if (withdraws) yield* Effect.forkChild(writer.withdraw(wishes));
            yield* writer.want(wishes);
            if (passesMs !== undefined) yield* TestClock.adjust(passesMs);
          }
          const all = (): RedirectionWish[] => ['a', 'b', 'c'].map((uid) => cluster.wish(uid, last));
          for (let round = 0; round < 3; round += 1) {
            yield* writer.want(all());
            yield* TestClock.adjust('1 hour');
          }
          expect(['a', 'b', 'c'].map((uid) => cluster.there.get(uid))).toEqual([last, last, last]);
        }),
      ),
    );
  });
});
