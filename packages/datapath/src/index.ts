// The datapath's public surface.
export { WorkloadFlag } from './desired.js';
export type { CgroupInfo, DatapathSettings, DesiredMaps, Exclusion, LocalPod } from './desired.js';
export { ZTUNNEL_INBOUND_PORT, ZTUNNEL_OUTBOUND_PORT, decide, findCaller } from './model.js';
export type { Decision, Query, Reason, RowTrace, Verdict } from './model.js';
export { canonicalAddress, canonicalCidr } from './address.js';
