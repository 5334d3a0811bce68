// The public surface of @sluice/process-watcher.
export { ProcConnectorError } from '@sluice/netlink-proc-connector';
export { MeteredObservable } from './metered-observable.js';
export type { ProcessWatcherOptions } from './options.js';
export type { Overrun, ProcessEvent, ProcessExecEvent, ProcessExitEvent, ProcessForkEvent } from './process-event.js';
export { processEvents } from './process-events.js';
export type { ProcessWatcherStats } from './stats.js';
