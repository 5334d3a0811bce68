// Makes the annotations of this node's pods what they ought to be, and leaves alone those that somebody else writes, too.
import { ApiError, backOffMs, type PodReference } from '@sluice/kubernetes';
import * as Effect from 'effect/Effect';
import * as FiberMap from 'effect/FiberMap';
import * as Latch from 'effect/Latch';
import * as Option from 'effect/Option';
import * as Result from 'effect/Result';
import type { Redirection } from './redirection.js';

/** The value that a pod's annotation ought to have, and the one that it has in the inventory. */
export interface RedirectionWish {
  readonly pod: PodReference;
  readonly wanted: Redirection;
  readonly seen: string | undefined;
}

export interface RedirectionWriterOptions {
  /** Writes once. `gone` if the pod no longer exists. */
  readonly patch: (pod: PodReference, value: Redirection) => Effect.Effect<'patched' | 'gone', ApiError>;
  readonly onFailure: (pod: PodReference, error: ApiError) => Effect.Effect<void>;
}

export type RedirectionWriter = Effect.Success<ReturnType<typeof makeRedirectionWriter>>;

const BACK_OFF = { baseMs: 1000, capMs: 60_000 };
/** How long a new pod may be pending before that is written, in milliseconds. Most pods are not pending for long. */
const PENDING_AFTER_MS = 1000;
/** If the inventory has not shown a write after this time, in milliseconds, somebody has overwritten it. */
const SHOWN_WITHIN_MS = 60_000;
/** How often our value is put back after somebody changed it, until something else is wanted. */
const CORRECTIONS = 1;

interface Tended {
  readonly pod: PodReference;
  wanted: Redirection;
  /** The value that the pod is believed to have. */
  there: string | undefined;
  seen: string | undefined;
  /** Whether the inventory has shown the believed value, so that another value is newer. */
  isShown: boolean;
  corrections: number;
  /** Whether it is left alone until something else is wanted, because somebody else changes it again, or the pod is gone. */
  isLeft: boolean;
  /** Why it could not be written. */
  problem: string | undefined;
  /** Open when something new is wanted, or the value differs, and the fibre has not noticed it yet. */
  readonly wake: Latch.Latch;
  /** Open when nothing is being written or waits to be written. */
  readonly settled: Latch.Latch;
}

const isDone = ({ wanted, there, isLeft }: Tended): boolean => isLeft || wanted === there;

const woken = ({ wake }: Tended): Effect.Effect<unknown> => Effect.andThen(wake.await, wake.close);

/** Waits for this time, or until the fibre is woken; returns whether it was woken. */
const pause = (tended: Tended, ms: number): Effect.Effect<boolean> =>
  Effect.map(Effect.timeoutOption(woken(tended), ms), Option.isSome);

/** Takes in the value that the inventory shows, once it can be told from an older one. */
function compare(tended: Tended): void {
  const { seen, wanted } = tended;
  if (seen === tended.there) {
    tended.isShown = true;
    return;
  }
  if (!tended.isShown) return;
  tended.there = seen;
  if (seen === wanted || tended.isLeft) return;
  tended.corrections += 1;
  if (tended.corrections <= CORRECTIONS) return;
  tended.isLeft = true;
  tended.problem =
    `somebody else ${seen === undefined ? 'removes it' : `sets it to \`${seen}\``} each time, and it is left so; ` +
    'find out who writes it (istio-cni?), and remove that from this node';
}

/** Each pod has a fibre while the writer knows it. The end of the scope abandons writes that are under way. */
export const makeRedirectionWriter = ({ patch, onFailure }: RedirectionWriterOptions) =>
  Effect.gen(function* () {
    const pods = new Map<string, Tended>();
    const fibers = yield* FiberMap.make<string>();
    const fork = yield* FiberMap.runtime(fibers)();

    const tend = Effect.fnUntraced(function* (tended: Tended) {
      while (true) {
        while (isDone(tended)) {
          tended.settled.openUnsafe();
          if (tended.isShown) yield* woken(tended);
          else if (!(yield* pause(tended, SHOWN_WITHIN_MS))) tended.isShown = true;
        }
        if (tended.wanted === 'pending' && tended.there === undefined) yield* pause(tended, PENDING_AFTER_MS);
        for (let failures = 0; !isDone(tended);) {
          const { pod, wanted } = tended;
          const outcome = yield* Effect.suspend(() => patch(pod, wanted)).pipe(
            // A mistake in our own code is handled like any other failure, so that the fibre goes on.
            Effect.catchDefect((cause) =>
              Effect.fail(new ApiError('PATCH', { reason: 'Internal', message: String(cause), cause })),
            ),
            Effect.result,
          );
          if (Result.isFailure(outcome)) {
            const { failure } = outcome;
            failures += 1;
            tended.problem = failure.message;
            yield* onFailure(pod, failure);
            yield* pause(tended, backOffMs(BACK_OFF, failures, failure.retryAfterMs));
          } else {
            failures = 0;
            tended.there = wanted;
            tended.isShown = tended.seen === wanted;
            tended.isLeft = outcome.success === 'gone';
            tended.problem = undefined;
          }
        }
      }
    });

    const wish = ({ pod, wanted, seen }: RedirectionWish): Tended => {
      const known = pods.get(pod.uid);
      if (known === undefined) {
        const tended: Tended = {
          pod,
          wanted,
          there: seen,
          seen,
          isShown: true,
          corrections: 0,
          isLeft: false,
          problem: undefined,
          wake: Latch.makeUnsafe(false),
          settled: Latch.makeUnsafe(false),
        };
        pods.set(pod.uid, tended);
        fork(pod.uid, Effect.ensuring(tend(tended), tended.settled.open));
        return tended;
      }
      known.seen = seen;
      if (wanted !== known.wanted) {
        known.wanted = wanted;
        known.corrections = 0;
        known.isLeft = false;
        known.problem = undefined;
        // The fibre may be waiting for something that no longer matters.
        known.wake.openUnsafe();
      }
      if (known.settled.isOpen()) {
        compare(known);
        if (!isDone(known)) {
          known.settled.closeUnsafe();
          known.wake.openUnsafe();
        }
      }
      return known;
    };

    return {
      /** Sets the wishes for all pods of the node; pods that are not among them are forgotten. */
      want: Effect.fnUntraced(function* (wishes: readonly RedirectionWish[]) {
        const named = new Set(wishes.map(({ pod }) => pod.uid));
        for (const uid of [...pods.keys()].filter((known) => !named.has(known))) {
          pods.delete(uid);
          yield* FiberMap.remove(fibers, uid);
        }
        for (const one of wishes) wish(one);
      }),

      /**
       * Withdraws the announcements of those of these pods that are announced and must not be, and changes nothing else. Waits until
       * that is done, however long it takes.
       */
      withdraw: Effect.fnUntraced(function* (wishes: readonly RedirectionWish[]) {
        const withdrawn = wishes.flatMap(({ pod, wanted, seen }) => {
          const tended = pods.get(pod.uid);
          // While a write is under way, the pod may already have the value that is being written.
          const isSaid =
            tended === undefined
              ? seen === 'enabled'
              : tended.wanted === 'enabled' && (tended.there === 'enabled' || !tended.settled.isOpen());
          return isSaid && wanted !== 'enabled' ? [wish({ pod, wanted, seen: tended?.seen ?? seen })] : [];
        });
        for (const { settled } of withdrawn) yield* settled.await;
      }),

      /** One sentence for each kind of problem, however many pods have it. */
      problems: (): string[] => {
        const byText = new Map<string, string[]>();
        for (const { pod, problem } of pods.values()) {
          if (problem === undefined) continue;
          byText.set(problem, [...(byText.get(problem) ?? []), `${pod.namespace}/${pod.name}`]);
        }
        return [...byText].map(([text, names]) => {
          const [first = ''] = names;
          const whose = names.length === 1 ? `pod ${first}` : `${names.length} pods, such as ${first}`;
          return `the annotation of ${whose} is not what it ought to be: ${text}`;
        });
      },
    };
  });
