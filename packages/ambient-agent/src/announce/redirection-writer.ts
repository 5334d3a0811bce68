// Brings the annotations of this node's pods to what they ought to be, and keeps off where somebody else writes them, too.
import { backOffMs, type ApiError, type PodReference } from '@sluice/kubernetes';
import * as Effect from 'effect/Effect';
import * as FiberMap from 'effect/FiberMap';
import * as Latch from 'effect/Latch';
import * as Option from 'effect/Option';
import * as Result from 'effect/Result';
import type { Redirection } from './redirection.js';

/** What a pod's annotation ought to be, and what it is in the inventory. */
export interface RedirectionWish {
  readonly pod: PodReference;
  readonly wanted: Redirection;
  readonly seen: string | undefined;
}

export interface RedirectionWriterOptions {
  /** Writes once. `gone`: the pod is no more. */
  readonly patch: (pod: PodReference, value: Redirection) => Effect.Effect<'patched' | 'gone', ApiError>;
  readonly onFailure: (pod: PodReference, error: ApiError) => Effect.Effect<void>;
}

export type RedirectionWriter = Effect.Success<ReturnType<typeof makeRedirectionWriter>>;

const BACK_OFF = { baseMs: 1000, capMs: 60_000 };
/** How long a new pod may be pending before that is written, in milliseconds: most are not for long. */
const PENDING_AFTER_MS = 1000;
/** A write that the inventory does not show after so long was overwritten before it could, in milliseconds. */
const SHOWN_WITHIN_MS = 60_000;
/** How often a value of ours that somebody changed is put back, until something else is wanted. */
const CORRECTIONS = 1;

interface Tended {
  readonly pod: PodReference;
  wanted: Redirection;
  /** What is believed to be there. */
  there: string | undefined;
  seen: string | undefined;
  /** The inventory has shown what is believed: what it shows now is newer. */
  isShown: boolean;
  corrections: number;
  /** Somebody else insists, or the pod is gone: it is left alone until something else is wanted. */
  isLeft: boolean;
  /** What keeps it from being written. */
  problem: string | undefined;
  /** Open: something else is wanted than before, or than is there, and that was not noticed yet. */
  readonly wake: Latch.Latch;
  /** Open: nothing is being written, nor waited for to be. */
  readonly settled: Latch.Latch;
}

const isDone = ({ wanted, there, isLeft }: Tended): boolean => isLeft || wanted === there;

const woken = ({ wake }: Tended): Effect.Effect<unknown> => Effect.andThen(wake.await, wake.close);

/** Until then, or until it is woken: then it is true. */
const pause = (tended: Tended, ms: number): Effect.Effect<boolean> =>
  Effect.map(Effect.timeoutOption(woken(tended), ms), Option.isSome);

/** Takes in what the inventory shows, once it can be told from what it showed before. */
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
    `somebody else makes it ${seen === undefined ? 'absent' : `\`${seen}\``} each time, and it is left so; ` +
    'find who writes it (istio-cni?), and take that off this node';
}

/** Each pod has a fibre for as long as it is tended. What is under way at the end of the scope is abandoned. */
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
          const outcome = yield* Effect.result(patch(pod, wanted));
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
        // What it waits for may not matter any more.
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
      /** All pods of the node: those that are not among them are forgotten. */
      want: Effect.fnUntraced(function* (wishes: readonly RedirectionWish[]) {
        const named = new Set(wishes.map(({ pod }) => pod.uid));
        for (const uid of [...pods.keys()].filter((known) => !named.has(known))) {
          pods.delete(uid);
          yield* FiberMap.remove(fibers, uid);
        }
        for (const one of wishes) wish(one);
      }),

      /**
       * Takes back what is said of these pods, and nothing else. Waits until it is taken back, however long that takes. Pods
       * that are not said to be in the mesh are none of its business.
       */
      withdraw: Effect.fnUntraced(function* (wishes: readonly RedirectionWish[]) {
        const withdrawn = wishes.flatMap(({ pod, wanted, seen }) => {
          const tended = pods.get(pod.uid);
          // While a write is under way, what is there may be what it writes.
          const isSaid =
            tended === undefined
              ? seen === 'enabled'
              : tended.wanted === 'enabled' && (tended.there === 'enabled' || !tended.settled.isOpen());
          return isSaid && wanted !== 'enabled' ? [wish({ pod, wanted, seen: tended?.seen ?? seen })] : [];
        });
        for (const { settled } of withdrawn) yield* settled.await;
      }),

      /** Each kind of trouble in one sentence, however many pods have it. */
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
