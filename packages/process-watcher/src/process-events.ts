// processEvents(): the kernel's events, about processes instead of threads.
import { bootTicks, type TicksOf } from './clock.js';
import { connectorEvents } from './connector-events.js';
import { MeteredObservable } from './metered-observable.js';
import { processLevel } from './process-level.js';
import type { ProcessWatcherOptions } from './options.js';
import { readProcess } from '@sluice/linux';
import type { ProcessEvent } from './process-event.js';
import { StatsCollector } from './stats.js';
import { threadGroupState } from './thread-group-state.js';
import type { Inspect } from './thread-groups.js';

const DEFAULT_PROC_PATH = '/proc';

/**
 * Fork, exec and exit of processes, and overruns in their places. Cold: each subscription opens a connector of its own and sees
 * what happens from then on; add `share()` to let many consumers use one. Never completes; errs with a ProcConnectorError when
 * the connector cannot be opened. If a consumer blocks, events are lost when the bounded ring is full, and an overrun says so:
 * the consumer then has to look up itself which processes live.
 */
export function processEvents(options: ProcessWatcherOptions = {}): MeteredObservable<ProcessEvent> {
  const collector = new StatsCollector();
  const inspect = inspectIn(options.procPath ?? DEFAULT_PROC_PATH);
  const events = connectorEvents(options, collector).pipe(processLevel(inspect));
  return new MeteredObservable(collector, (subscriber) => events.subscribe(subscriber));
}

function inspectIn(procPath: string): Inspect {
  let ticksOf: TicksOf | undefined;
  return (pid, timestampNs) => {
    ticksOf ??= bootTicks();
    const seen = readProcess(procPath, pid);
    if (seen === undefined || seen.startTime > ticksOf(timestampNs)) return 'gone';
    return threadGroupState(procPath, seen);
  };
}
