// The public surface of @sluice/netlink-proc-connector.
export { ProcEventBatch } from './batch.js';
export { suspendedNs } from './clock.js';
export {
  openProcConnector,
  type ProcConnector,
  type ProcConnectorOptions,
  type ProcConnectorStats,
} from './connector.js';
export { ProcConnectorError } from './error.js';
export type {
  CommEvent,
  CoredumpEvent,
  ExecEvent,
  ExitEvent,
  ForkEvent,
  IdEvent,
  OverrunEvent,
  ProcEvent,
  ProcEventKind,
  PtraceEvent,
  SidEvent,
} from './event.js';
