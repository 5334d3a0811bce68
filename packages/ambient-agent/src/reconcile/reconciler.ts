// Runs passes: one at a time, at most one waiting, on every hint, after every overrun, on a timer, and again soon while
// something is not complete. A pass that fails is logged, counted and run again; the maps stay as they were.
import * as Cause from 'effect/Cause';
import * as Effect from 'effect/Effect';
import * as Queue from 'effect/Queue';
import { messageOf } from '../node/checks.js';
import type { Enforcement } from '../node/enforcement.js';
import type { InventorySource } from '../inventory/source.js';
import { metrics } from '../observe/metrics.js';
import type { PassResult } from './pass.js';

/** Why a pass is wanted. */
export type Request = 'inventory' | 'pod-process' | 'kubelet' | 'overrun' | 'timer' | 'retry';

/** After these, everything is looked at anew, not only what is known to have changed. */
const thorough: ReadonlySet<Request> = new Set<Request>(['kubelet', 'overrun', 'timer']);

const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 5000;

export interface PassFailure {
  readonly kind: string;
  readonly message: string;
}

export interface Reconciler {
  /** Never waits. Requests that come while a pass runs become one pass after it. */
  readonly request: (why: Request) => void;
  /** Runs for ever. `isIncomplete`: of the pass that was run before. */
  readonly run: (isIncomplete: boolean) => Effect.Effect<never, never, InventorySource | Enforcement>;
}

export interface ReconcilerOptions<E extends { readonly _tag: string; readonly message: string }> {
  readonly pass: (isThorough: boolean) => Effect.Effect<PassResult, E, InventorySource | Enforcement>;
  /** Told of every pass that succeeded; must not fail. */
  readonly onPass: (result: PassResult, why: ReadonlySet<Request>, durationMs: number) => Effect.Effect<void>;
  readonly onFailure: (failure: PassFailure) => Effect.Effect<void>;
  readonly resyncIntervalMs: number;
}

export const makeReconciler = <E extends { readonly _tag: string; readonly message: string }>(
  options: ReconcilerOptions<E>,
): Effect.Effect<Reconciler> =>
  Effect.gen(function* () {
    const wake = yield* Queue.sliding<void>(1);
    let waiting = new Set<Request>();
    let retryMs = FIRST_RETRY_MS;

    const request = (why: Request): void => {
      waiting.add(why);
      Queue.offerUnsafe(wake, undefined);
    };

    const onePass = Effect.gen(function* () {
      const why = waiting;
      waiting = new Set();
      for (const kind of why) yield* metrics.hint(kind);
      if ([...why].some((kind) => kind !== 'retry')) retryMs = FIRST_RETRY_MS;
      const started = performance.now();
      const isThorough = [...why].some((kind) => thorough.has(kind));
      const result = yield* options.pass(isThorough);
      yield* metrics.reconciled;
      yield* options.onPass(result, why, performance.now() - started);
      return result.isIncomplete;
    });

    // Nothing that a pass can do ends the agent; what ends it from outside does.
    const guarded = onePass.pipe(
      Effect.catchCause((cause) => {
        if (Cause.hasInterruptsOnly(cause)) return Effect.failCause(cause as Cause.Cause<never>);
        const error = Cause.squash(cause);
        const kind = typeof error === 'object' && error !== null && '_tag' in error ? String(error._tag) : 'defect';
        return Effect.as(options.onFailure({ kind, message: messageOf(error) }), true);
      }),
    );

    /** Waits for a request; while something is incomplete, not for long. */
    const nextWake = (isIncomplete: boolean): Effect.Effect<void> => {
      if (!isIncomplete) {
        return Effect.raceFirst(
          Queue.take(wake),
          Effect.andThen(
            Effect.sleep(options.resyncIntervalMs),
            Effect.sync(() => void waiting.add('timer')),
          ),
        );
      }
      const delay = Math.min(retryMs, options.resyncIntervalMs);
      retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
      return Effect.raceFirst(
        Queue.take(wake),
        Effect.andThen(
          Effect.sleep(delay),
          Effect.sync(() => void waiting.add('retry')),
        ),
      );
    };

    const run = Effect.fnUntraced(function* (wasIncomplete: boolean) {
      let isIncomplete = wasIncomplete;
      let thoroughAt = performance.now();
      while (true) {
        yield* nextWake(isIncomplete);
        // Retries must not put the timer off for ever.
        if (performance.now() - thoroughAt >= options.resyncIntervalMs) waiting.add('timer');
        if (waiting.has('timer')) thoroughAt = performance.now();
        isIncomplete = yield* guarded;
      }
    });
    return { request, run };
  });
