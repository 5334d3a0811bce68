// The datapath's public surface.
export { WorkloadFlag } from './desired.js';
export type { CgroupInfo, DatapathSettings, DesiredMaps, Exclusion, LocalPod } from './desired.js';
