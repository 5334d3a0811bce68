// The public surface of @sluice/zds.
export type { BackOff } from './back-off.js';
export type { LentNetns, WorkloadStatus, ZdsWorkload } from './desired-state.js';
export { ZdsError } from './errors.js';
export type { EndReason, ZdsEvent } from './events.js';
export type { ZdsMetrics } from './metrics.js';
export { ZdsServer, type ZdsPeer, type ZdsRefusal, type ZdsServerOptions } from './server.js';
