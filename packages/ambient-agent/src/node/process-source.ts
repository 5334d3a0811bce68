// The agent's only subscription to process-watcher.
import { processEvents, type MeteredObservable, type ProcessEvent } from '@sluice/process-watcher';

/** Opens the proc connector when it is subscribed to, and counts. Errors (not root, wrong namespace) are the Observable's. */
export function watchedEvents(procPath: string): MeteredObservable<ProcessEvent> {
  return processEvents({ procPath });
}
