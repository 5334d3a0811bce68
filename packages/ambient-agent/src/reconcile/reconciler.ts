// Runs passes, one at a time and with at most one waiting: on every hint, after every overrun, on a timer, and again soon while
// something is incomplete. A pass that fails is logged, counted and run again; the maps stay as they were.
import * as Cause from 'effect/Cause';
import * as Effect from 'effect/Effect';
import * as Queue from 'effect/Queue';
import { messageOf } from '../failure/message-of.js';
import { metrics } from '../observe/metrics.js';
import { HalfOfTheTime } from './half-of-the-time.js';
import type { PassResult, PassServices } from './pass.js';

/** Why a pass is wanted. */
export type Request =
  | 'inventory'
  | 'zds'
  | 'netns'
  | 'missing'
  | 'pod-start'
  | 'pod-process'
  | 'pod-cgroup'
  | 'listener'
  | 'kubelet'
  | 'overrun'
  | 'timer'
  | 'retry';

/** These wait for others: while a pod starts, they come one after another, and a pass for each would be in the way of the urgent one. */
const patient: ReadonlySet<Request> = new Set<Request>(['inventory', 'pod-cgroup']);
/** About as long as a pass takes on a small node. A label takes effect so much later. */
const COMPANY_MS = 25;

/** After these, a pass looks at everything again, and not only at what is known to have changed. */
const thorough: ReadonlySet<Request> = new Set<Request>(['kubelet', 'overrun', 'timer']);

/** The application of a pod that starts dials some 0.1 s after this, and is refused until a pass has prepared the pod's namespace. */
const urgent: Request = 'pod-start';

const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 5000;
const LONGEST_PAUSE_MS = 200;
const SHORTEST_PAUSE_MS = 1;
/** After a quiet time, so much may follow without a pause: a pod that starts needs three passes, and soon. */
const BURST_MS = 400;

export interface PassFailure {
  readonly kind: string;
  readonly message: string;
}

export interface Reconciler {
  /** Never waits. Requests during a pass become one pass after it; only an urgent one does not let the pause between the two pass by. */
  readonly request: (why: Request) => void;
  /** Runs for ever, after a pass with this result. */
  readonly run: (before: Outlook) => Effect.Effect<never, never, PassServices>;
}

/** What a pass says of the next one. */
type Outlook = Pick<PassResult, 'isIncomplete' | 'dueMs'>;

export interface ReconcilerOptions<E extends { readonly _tag: string; readonly message: string }> {
  readonly pass: (isThorough: boolean) => Effect.Effect<PassResult, E, PassServices>;
  /** Called after every pass that succeeded; must not fail. */
  readonly onPass: (result: PassResult, why: ReadonlySet<Request>, durationMs: number) => Effect.Effect<void>;
  readonly onFailure: (failure: PassFailure) => Effect.Effect<void>;
  readonly resyncIntervalMs: number;
}

/** After a pass that failed. */
const failed: Outlook = { isIncomplete: true, dueMs: undefined };

export const makeReconciler = <E extends { readonly _tag: string; readonly message: string }>(
  options: ReconcilerOptions<E>,
): Effect.Effect<Reconciler> =>
  Effect.gen(function* () {
    const wake = yield* Queue.sliding<void>(1);
    let waiting = new Set<Request>();
    let retryMs = FIRST_RETRY_MS;
    /** Set from the request until a thorough pass has succeeded. */
    let owesThorough = false;
    /** Looks whether what is waited for is there; set while somebody waits. */
    let look = (): void => {};

    const request = (why: Request): void => {
      waiting.add(why);
      Queue.offerUnsafe(wake, undefined);
      look();
    };

    /** Waits for some time, but not when there is such a request. */
    const pauseUnless = (ms: number, isSuch: (why: Request) => boolean): Effect.Effect<void> => {
      const come = Effect.callback<void>((resume) => {
        look = () => {
          if ([...waiting].some(isSuch)) resume(Effect.void);
        };
        look();
        return Effect.sync(() => {
          look = () => {};
        });
      });
      return Effect.raceFirst(Effect.sleep(ms), come);
    };

    const onePass = Effect.gen(function* () {
      const why = waiting;
      waiting = new Set();
      for (const kind of why) yield* metrics.hint(kind);
      if ([...why].some((kind) => kind !== 'retry')) retryMs = FIRST_RETRY_MS;
      const started = performance.now();
      owesThorough ||= [...why].some((kind) => thorough.has(kind));
      const result = yield* options.pass(owesThorough);
      owesThorough = false;
      yield* metrics.reconciled;
      yield* options.onPass(result, why, performance.now() - started);
      return { isIncomplete: result.isIncomplete, dueMs: result.dueMs };
    });

    // No failure of a pass ends the agent; only an interruption does.
    const guarded = onePass.pipe(
      Effect.catchCause((cause) => {
        if (Cause.hasInterruptsOnly(cause)) return Effect.interrupt;
        const error = Cause.squash(cause);
        const kind = typeof error === 'object' && error !== null && '_tag' in error ? String(error._tag) : 'defect';
        return Effect.as(options.onFailure({ kind, message: messageOf(error) }), failed);
      }),
    );

    /** Waits for a request, or makes one after some time, which is short while something is incomplete. */
    const nextRequest = ({ isIncomplete, dueMs }: Outlook): Effect.Effect<void> => {
      // A request came while a pass ran, and its wake-up may have been taken already.
      if (waiting.size > 0) return Effect.void;
      const usual = isIncomplete ? Math.min(retryMs, options.resyncIntervalMs) : options.resyncIntervalMs;
      const isDue = dueMs !== undefined && dueMs < usual;
      const delay = isDue ? dueMs : usual;
      if (isIncomplete) retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
      const ownRequest = Effect.sync(() => void waiting.add(isIncomplete || isDue ? 'retry' : 'timer'));
      return Effect.raceFirst(Queue.take(wake), Effect.andThen(Effect.sleep(delay), ownRequest));
    };

    const run = Effect.fnUntraced(function* (before: Outlook) {
      let outlook = before;
      let thoroughAt = performance.now();
      const share = new HalfOfTheTime(BURST_MS, LONGEST_PAUSE_MS, thoroughAt);
      while (true) {
        yield* nextRequest(outlook);
        if (waiting.size === 0) continue;
        yield* pauseUnless(COMPANY_MS, (why) => !patient.has(why));
        const started = performance.now();
        // Retries must not postpone the timer for ever.
        if (started - thoroughAt >= options.resyncIntervalMs) waiting.add('timer');
        if (waiting.has('timer')) thoroughAt = started;
        outlook = yield* guarded;
        // What has come during a pass goes into the next one.
        yield* Effect.sleep(SHORTEST_PAUSE_MS);
        yield* pauseUnless(share.spent(started, performance.now()), (why) => why === urgent);
      }
    });
    return { request, run };
  });
