// Operator that turns events of threads into events of processes.
import type { ProcEvent } from '@sluice/netlink-proc-connector';
import { Observable, type OperatorFunction } from 'rxjs';
import type { ProcessEvent } from './process-event.js';
import { ThreadGroups, type Inspect } from './thread-groups.js';

/** Each subscription has a memory of its own. */
export function processLevel(inspect: Inspect): OperatorFunction<ProcEvent, ProcessEvent> {
  return (source) =>
    new Observable((subscriber) => {
      const groups = new ThreadGroups(inspect);
      return source.subscribe({
        next: (event) => {
          const result = groups.next(event);
          if (result !== undefined) subscriber.next(result);
        },
        error: (error: unknown) => subscriber.error(error),
        complete: () => subscriber.complete(),
      });
    });
}
