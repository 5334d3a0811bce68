// processes(): the live set without a gap.
import { bootTicks } from './clock.js';
import { LiveSet } from './live-set.js';
import { MeteredObservable } from './metered-observable.js';
import { keepLiveSet } from './operators/keep-live-set.js';
import type { OpenConnector, ProcessWatcherOptions } from './options.js';
import type { ProcessChange } from './process-event.js';
import { DEFAULT_PROC_PATH, processEventsOf } from './process-events.js';
import { lookAt, scanProcesses } from './scan.js';
import { StatsCollector } from './stats.js';

/**
 * Every process that lives, first as synthetic `started`, then `synced`, then changes as they happen. After an overrun /proc is
 * scanned again and synthetic changes correct the sum, until the next `synced`. Cold: each subscription has a connector, a scan
 * and a set of its own. Never completes; errs with a ProcConnectorError, or a ProcessWatcherError when /proc cannot be read.
 */
export function processes(options: ProcessWatcherOptions = {}): MeteredObservable<ProcessChange> {
  return processesOf(options);
}

/** The same, with another way to open the connector. */
export function processesOf(options: ProcessWatcherOptions, open?: OpenConnector): MeteredObservable<ProcessChange> {
  const procPath = options.procPath ?? DEFAULT_PROC_PATH;
  const collector = new StatsCollector();
  const changes = processEventsOf(options, collector, open).pipe(
    keepLiveSet({
      makeSet: () => new LiveSet((pid) => lookAt(procPath, pid), bootTicks()),
      scan: scanProcesses(procPath),
      onScan: (outcome) => collector.scanned(outcome),
    }),
  );
  return new MeteredObservable(collector, (subscriber) => changes.subscribe(subscriber));
}
