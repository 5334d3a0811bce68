// The one place where process-watcher is asked for events.
import { processEvents, type MeteredObservable, type ProcessEvent } from '@sluice/process-watcher';

/** Opens the proc connector when subscribed to; its errors (not root, wrong namespace) are the Observable's. Counts what it meets. */
export function watchedEvents(procPath: string): MeteredObservable<ProcessEvent> {
  return processEvents({ procPath });
}
