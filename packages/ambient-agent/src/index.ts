// The agent's public surface.
export { type AgentConfig } from './config/config.js';
export { ConfigError } from './config/errors.js';
export { loadConfig, resolveConfig } from './config/load.js';
export { enrol, type Enrolment, type EnrolmentInput, type KubeletCgroup, type Workload } from './enrolment/enrol.js';
export { dateStatuses, type DatedStatus, type WorkloadState, type WorkloadStatus } from './enrolment/status.js';
export { discoverZtunnels, type Ztunnels } from './enrolment/ztunnel.js';
export { ManifestDirectory } from './inventory/directory.js';
export { describeProblem, parseManifest, type Manifest, type ManifestProblem } from './inventory/manifest.js';
export type { Inventory, Namespace, Pod } from './inventory/model.js';
export { InventorySource, type InventorySnapshot } from './inventory/source.js';
export { staticSource } from './inventory/static-source.js';
export { StartupError } from './node/startup-error.js';
