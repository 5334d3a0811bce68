// Finds a process's cgroup, its pod and container, its network namespace and addresses.
export { CgroupError, type CgroupErrorReason } from './errors.js';
export { cgroup2Mounts, directoryOf, findCgroup2, isCgroup2, type CgroupHierarchy } from './hierarchy.js';
export { parseMembership, type CgroupMembership } from './membership.js';
export { parseMountinfo, type MountEntry } from './mountinfo.js';
export { parseCgroupPath, type ParsedCgroupPath, type QosClass, type Runtime } from './naming.js';
export { canonicalAddress, type LendNetns, type NetnsRef } from './netns.js';
export type { ProcessResolution } from './resolution.js';
export {
  CgroupResolver,
  type CgroupResolverOptions,
  type PodNamespaces,
  type PodNamespacesOptions,
} from './resolver.js';
export { processesBelow, walkPods, type ContainerRef, type PodCgroup } from './tree.js';
