// Operator that turns events of processes into changes of the live set. It scans at the start and again after every overrun.
import { Observable, Subscription, type OperatorFunction } from 'rxjs';
import type { LiveSet } from '../live-set.js';
import type { ProcessChange, ProcessEvent } from '../process-event.js';
import type { SeenProcess } from '@sluice/linux';

export interface KeepLiveSetOptions {
  /** Makes the set of one subscription. */
  makeSet: () => LiveSet;
  /** Emits all processes that live, once. It must not look before it is subscribed to. */
  scan: Observable<Iterable<SeenProcess>>;
  /** Called after every scan, with whether it counted. */
  onScan?: (outcome: 'used' | 'discarded') => void;
}

export function keepLiveSet(options: KeepLiveSetOptions): OperatorFunction<ProcessEvent, ProcessChange> {
  return (source) =>
    new Observable((subscriber) => {
      const set = options.makeSet();
      const teardown = new Subscription();
      let scanning: Subscription | undefined;

      const emit = (changes: readonly ProcessChange[]): void => {
        for (const change of changes) {
          if (subscriber.closed) return;
          subscriber.next(change);
        }
      };
      const scan = (): void => {
        if (scanning !== undefined || subscriber.closed) return;
        set.beginScan();
        const current = new Subscription();
        scanning = current;
        teardown.add(current);
        const settle = (seen: Iterable<SeenProcess>): void => {
          const changes = set.endScan(seen);
          options.onScan?.(changes === undefined ? 'discarded' : 'used');
          // Cleared before anything is emitted: a consumer may unsubscribe from within.
          scanning = undefined;
          teardown.remove(current);
          if (changes === undefined) scan();
          else emit(changes);
        };
        current.add(options.scan.subscribe({ next: settle, error: (error: unknown) => subscriber.error(error) }));
      };

      // Registered before subscribing, so that a source that errs at once is torn down too.
      subscriber.add(teardown);
      // Events first, then the scan: the events report what happens in between.
      teardown.add(
        source.subscribe({
          next: (event) => {
            emit(set.apply(event));
            if (event.kind === 'overrun') scan();
          },
          error: (error: unknown) => subscriber.error(error),
          complete: () => subscriber.complete(),
        }),
      );
      scan();
    });
}
