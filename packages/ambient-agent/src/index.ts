// The agent's public surface: the program, its pure parts, and the commands that look at a node from outside.
export { runAgent } from './agent.js';
export { settledCgroups } from './enrol-for-ever.js';
export { Announcements, noAnnouncements } from './announce/announcements.js';
export { clusterAnnouncements } from './announce/cluster-announcements.js';
export { NOT_ENROLLED, PARTLY_ENROLLED, PodWarnings } from './announce/pod-warnings.js';
export { REDIRECTION_ANNOTATION, redirectionOf, type Redirection } from './announce/redirection.js';
export { makeRedirectionWriter, type RedirectionWish, type RedirectionWriter } from './announce/redirection-writer.js';
export type { AgentConfig, Mode } from './config/config.js';
export { ConfigError } from './config/errors.js';
export { loadConfig, resolveConfig } from './config/load.js';
export {
  entriesOf,
  jsonSchemaOf,
  notInChart,
  optional,
  section,
  setting,
  typeOf,
  type Entry,
} from './config/declare.js';
export { settings } from './config/settings.js';
export { enrol } from './enrolment/enrol.js';
export type { Enrolment, EnrolmentInput, KubeletCgroup } from './enrolment/enrolment.js';
export { heldAddress, type HeldAddress } from './enrolment/addresses.js';
export type { Workload } from './enrolment/node-pods.js';
export {
  Capture,
  captureOf,
  isRoutable,
  nothingSeen,
  type CaptureFacts,
  type ListenerSight,
} from './enrolment/capture.js';
export { RESERVED_CGROUPS, withinCapacities, withReserve } from './enrolment/room.js';
export type { InPodFacts, ServedPod } from './enrolment/served.js';
export {
  dateStatuses,
  type CgroupStatus,
  type DatedStatus,
  type WorkloadState,
  type WorkloadStatus,
} from './enrolment/status.js';
export { discoverZtunnels, type Ztunnels } from './enrolment/ztunnel.js';
export { cleanupNode, type CleanupOptions, type CleanupPlaces, type CleanupReport } from './inspect/cleanup.js';
export { withdrawAnnouncements, type Withdrawal } from './inspect/withdraw-announcements.js';
export { InspectError, type InspectErrorKind } from './inspect/errors.js';
export { explainInbound, parseClient, parsePodPort, type InboundExplanation } from './inspect/explain-inbound.js';
export { explain, parseDestination, type Caller, type Explanation } from './inspect/explain.js';
export {
  watchNode,
  type WatchedDecision,
  type WatchedOverrun,
  type WatchedProcess,
  type WatchOptions,
  type WatchRecord,
} from './inspect/watch.js';
export { readNodeStatus, type NodeStatus } from './inspect/node-status.js';
export { claimsOf, type Claims } from './inspect/claims.js';
export { DIFFERENCE_KINDS, differencesOf, type Difference } from './inspect/differences.js';
export type { KernelView, SeenNetns } from './inspect/kernel-view.js';
export { verifyNode, type Verification, type VerifiedStatus } from './inspect/verify.js';
export { kubernetesSource } from './inventory/kubernetes-source.js';
export { ManifestDirectory } from './inventory/directory.js';
export { ManifestMemory, manifestsFile } from './inventory/memory.js';
export { describeProblem, parseManifest, type Manifest, type ManifestProblem } from './inventory/manifest.js';
export type { Inventory, Namespace, NetworkAdmin, Pod } from './inventory/model.js';
export { InventorySource, type InventorySnapshot } from './inventory/source.js';
export { staticSource } from './inventory/static-source.js';
export { Enforcement, EnforcementError } from './node/enforcement.js';
export { NodeGuard, type GuardFacts, type KeptGuard } from './node/guard.js';
export { LetGo, letListenersGo, reachablePods } from './reconcile/let-go.js';
export { PodHints } from './reconcile/pod-hints.js';
export { Sightings } from './reconcile/sightings.js';
export { expectedNamespaces, membership } from './enrolment/membership.js';
export { pinDirectory } from './config/pin-directory.js';
export { PodNetnsError } from './pod-netns/errors.js';
export { PodNetns } from './pod-netns/pod-netns.js';
export { isUninstalled } from './node/own-daemonset.js';
export { prepareNew, serve, type DoneNetns, type Served, type ServeOptions } from './reconcile/serve.js';
export { Removals } from './zds/removals.js';
export { Acknowledgements } from './zds/acknowledgements.js';
export { ztunnelOf } from './zds/authorize.js';
export { Zds, type OfferedPod, type ZdsConnection } from './zds/zds.js';
export { StartupError } from './failure/startup-error.js';
export { recordOf } from './observe/log.js';
export { serveMetrics } from './observe/metrics-server.js';
export { logging, LogThreshold } from './observe/log.js';
export { askForLogLevel, followLogLevel, logLevelFile } from './run-directory/log-level.js';
export { logLevels, type LogLevel } from './config/log-levels.js';
export { Readiness } from './observe/readiness.js';
export { makeReconciler, type Reconciler, type Request } from './reconcile/reconciler.js';
export { finishPass, reconcilePass, type PassPlaces, type PassResult } from './reconcile/pass.js';
export { fromObservable, type StreamOverrun } from './streams/from-observable.js';
export { enforced, type EnforcedPod, type Findings } from './reconcile/enforced.js';
export { reportFailures } from './reconcile/failures.js';
export { LastLook, missingOf, repairsOf, type Repair } from './reconcile/missing.js';
export { LastingNeeds, needsOf } from './reconcile/needs.js';
export { readState, stateFile, type AgentState, type StateReading } from './state/state.js';
export { AGENT_VERSION } from './version.js';
