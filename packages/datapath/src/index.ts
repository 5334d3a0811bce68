// The datapath's public surface.
export { Datapath } from './datapath.js';
export type { DatapathOptions, KeptSize } from './open.js';
export { defaultCapacities, isInForceLater } from './layout.js';
export type { Capacities } from './layout.js';
export { cgroupOfEntry, netnsOfEntry, ownerOfEntry } from './entry-owner.js';
export type { ApplyFailure, ApplyResult } from './apply.js';
export type { AttachFailure, AttachResult, Attachment } from './attach.js';
export { REFUSE, attachPlan, isWithin } from './attach-plan.js';
export type { AttachPlan, Needs, Place } from './attach-plan.js';
export { holdByPinned } from './listeners.js';
export type { NetnsAttached } from './netns-links.js';
export { InstalledDatapath, readLinks, readNetnsLinks } from './installed.js';
export type { RoutedDevices, RoutedFamilies } from './routed-netns.js';
export { CaptureMark } from './generated/maps.js';
export type { InstalledLink, InstalledNetnsLink } from './installed.js';
export {
  compareMaps,
  readInboundLinks,
  readListeners,
  readPrograms,
  readRoutedNetns,
  whyNotPinned,
} from './verification.js';
export type { AttachedProgram, InboundLink, PinnedMap, RunningProgram } from './verification.js';
export { INBOUND_PROGRAM, nameInKernel } from './layout.js';
export { desiredOf, wantedEntries } from './wanted-entries.js';
export type { WantedEntries } from './wanted-entries.js';
export type { EntryDifference } from './entry-differences.js';
export { Guard } from './guard/guard.js';
export type { GuardOptions } from './guard/guard.js';
export { GUARD_PARTS } from './guard/parts.js';
export type { GuardPart, MissingGuardPart } from './guard/parts.js';
export type { PodEvent } from './guard/events.js';
export { readGuard } from './guard/verification.js';
export type { GuardLink } from './guard/verification.js';
export { foreignConnectPrograms } from './foreign-connect.js';
export type { ForeignProgram } from './foreign-connect.js';
export type { MissingKind, MissingPart } from './missing.js';
export { cleanup } from './cleanup.js';
export type { CleanupResult } from './cleanup.js';
export { DatapathError } from './errors.js';
export type { DatapathErrorKind } from './errors.js';
export { missingKernelFeatures, objectPaths, usedKernelFeatures } from './kernel-features.js';
export type { KernelFeature } from './kernel-features.js';
export { DEEPEST_LEVEL, NOT_IN_MESH, WorkloadFlag } from './desired.js';
export type { CgroupInfo, DatapathSettings, DesiredMaps, LocalPod, TrafficRule } from './desired.js';
export type { Counters, DecisionCount, InboundCount } from './counters.js';
export type { DecisionRecord } from './decisions.js';
export type {
  EventName as DatapathEvent,
  InboundReasonName as InboundReason,
  InboundVerdictName as InboundVerdict,
  ReasonName as Reason,
  VerdictName as Verdict,
} from './generated/maps.js';
export {
  ZTUNNEL_DNS_PORT,
  ZTUNNEL_INBOUND_PORT,
  ZTUNNEL_OUTBOUND_PORT,
  decide,
  findCaller,
  staysInPod,
} from './model.js';
export type { Decision, Query, RowTrace } from './model.js';
export { ZTUNNEL_HBONE_PORT, decideInbound } from './inbound-model.js';
export type { InboundDecision, InboundQuery, InboundRowTrace } from './inbound-model.js';
export { canonicalAddress, canonicalCidr, isLoopback } from './address.js';
