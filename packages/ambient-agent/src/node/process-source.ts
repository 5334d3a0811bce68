// The one place where process-watcher is asked for events.
import { processEvents } from '@sluice/process-watcher';
import type { Observable } from 'rxjs';
import type { WatchedEvent } from '../reconcile/process-hints.js';

/** Opens the proc connector when subscribed to; its errors (not root, wrong namespace) are the Observable's. */
export function watchedEvents(procPath: string): Observable<WatchedEvent> {
  return processEvents({ procPath });
}
