// Makes a Stream of Effect from an Observable of RxJS, through a bounded buffer. Elements that do not fit are counted, and an overrun in
// their place in the stream says how many there were.
import * as Effect from 'effect/Effect';
import * as Queue from 'effect/Queue';
import * as Stream from 'effect/Stream';
import type { Observable } from 'rxjs';

/** Elements were lost here. `lost` is final once the stream's consumer has it. */
export interface StreamOverrun {
  readonly kind: 'stream-overrun';
  readonly lost: number;
}

export interface ObservableOptions {
  /** How many elements may wait for the consumer. */
  readonly capacity: number;
}

/**
 * Subscribes when it is run, and unsubscribes when the stream ends in any way. Never holds up the source.
 * An error of the source becomes the stream's error.
 */
export const fromObservable = <A>(
  source: Observable<A>,
  { capacity }: ObservableOptions,
): Stream.Stream<A | StreamOverrun, unknown> =>
  Stream.callback<A | StreamOverrun, unknown>(
    (queue) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          // The last place of the queue is reserved for this, so that a loss is always reported, even if nothing follows it.
          let overrun: { kind: 'stream-overrun'; lost: number } | undefined;
          return source.subscribe({
            next: (element) => {
              if (Queue.sizeUnsafe(queue) < capacity) {
                overrun = undefined;
                Queue.offerUnsafe(queue, element);
              } else if (overrun === undefined) {
                overrun = { kind: 'stream-overrun', lost: 1 };
                Queue.offerUnsafe(queue, overrun);
              } else overrun.lost += 1;
            },
            error: (error: unknown) => void Effect.runSync(Queue.fail(queue, error)),
            complete: () => void Effect.runSync(Queue.end(queue)),
          });
        }),
        (subscription) => Effect.sync(() => subscription.unsubscribe()),
      ),
    { bufferSize: capacity + 1, strategy: 'dropping' },
  );
