// Events on pods: which ones the owners get, when, and how rarely.
import * as Effect from 'effect/Effect';
import * as TestClock from 'effect/testing/TestClock';
import { describe, expect, it } from 'vitest';
import { NOT_ENROLLED, PARTLY_ENROLLED, PodWarnings, type WorkloadStatus } from '../src/index.js';

const status = (over: Partial<WorkloadStatus>): WorkloadStatus => ({
  uid: 'a',
  namespace: 'shop',
  name: 'a',
  ips: [],
  cgroups: [],
  netnsCookie: undefined,
  role: 'workload',
  state: 'in',
  reason: '',
  problems: [],
  ...over,
});

class Owner {
  readonly told: string[] = [];
  readonly warnings = new PodWarnings(({ name }, { reason, message }) =>
    Effect.sync(() => this.told.push(`${name} ${reason} ${message}`)),
  );
}

const telling = (test: (owner: Owner) => Generator<Effect.Effect<unknown>, void, never>): Promise<void> =>
  Effect.runPromise(
    Effect.provide(
      Effect.gen(() => test(new Owner())),
      TestClock.layer(),
    ),
  );

describe('an owner', () => {
  it('is told of a pod that has been pending for long, and not before', () =>
    telling(function* (owner) {
      const waiting = status({ state: 'pending', reason: 'pending: no ztunnel is connected' });
      yield* owner.warnings.look([waiting]);
      yield* TestClock.adjust(29_999);
      yield* owner.warnings.look([waiting]);
      expect(owner.told).toEqual([]);
      yield* TestClock.adjust(1);
      yield* owner.warnings.look([waiting]);
      yield* owner.warnings.look([waiting]);
      expect(owner.told).toEqual([`a ${NOT_ENROLLED} Sluice: pending: no ztunnel is connected`]);
    }));

  it('is not told of a pod that is pending again and again, each time briefly', () =>
    telling(function* (owner) {
      for (let round = 0; round < 10; round += 1) {
        yield* owner.warnings.look([status({ state: 'pending' })]);
        yield* TestClock.adjust(20_000);
        yield* owner.warnings.look([status({})]);
      }
      expect(owner.told).toEqual([]);
    }));

  it('is told of a problem that lasts, once for the same message', () =>
    telling(function* (owner) {
      const look = Effect.fnUntraced(function* (over: Partial<WorkloadStatus>) {
        for (let round = 0; round < 3; round += 1) {
          yield* owner.warnings.look([status(over)]);
          yield* TestClock.adjust(5000);
        }
      });
      yield* look({ problems: ['a', 'b'] });
      yield* look({ problems: ['a', 'b'] });
      yield* look({ problems: ['c'] });
      yield* look({ state: 'pending', problems: ['the map is full'] });
      expect(owner.told).toEqual([
        `a ${PARTLY_ENROLLED} Sluice: a; b`,
        `a ${PARTLY_ENROLLED} Sluice: c`,
        `a ${NOT_ENROLLED} Sluice: the map is full`,
      ]);
    }));

  it('is not told of a passing problem, such as a ztunnel that is being replaced', () =>
    telling(function* (owner) {
      for (let round = 0; round < 5; round += 1) {
        yield* owner.warnings.look([status({ problems: ['ztunnel does not listen for it'] })]);
        yield* TestClock.adjust(9000);
        yield* owner.warnings.look([status({})]);
      }
      expect(owner.told).toEqual([]);
    }));

  it('is not told of a pod that is being deleted', () =>
    telling(function* (owner) {
      const look = (): Effect.Effect<void> =>
        owner.warnings.look([status({ problems: ['its loopback is down'] })], (uid) => uid === 'a');
      yield* look();
      yield* TestClock.adjust(60_000);
      yield* look();
      expect(owner.told).toEqual([]);
    }));

  it('is told again before Kubernetes forgets the Event', () =>
    telling(function* (owner) {
      const wrong = status({ problems: ['a'] });
      for (const seconds of [0, 10, 20, 3610]) {
        yield* TestClock.setTime(seconds * 1000);
        yield* owner.warnings.look([wrong]);
      }
      expect(owner.told).toHaveLength(2);
    }));

  it('is told nothing of pods that are out, of ztunnel’s, and of pods that the inventory does not know', () =>
    telling(function* (owner) {
      for (const over of [{ state: 'out' }, { role: 'ztunnel' }, { state: 'unknown' }] as const)
        for (let round = 0; round < 2; round += 1) {
          yield* owner.warnings.look([status({ ...over, problems: ['something'] })]);
          yield* TestClock.adjust(60_000);
        }
      expect(owner.told).toEqual([]);
    }));
});
