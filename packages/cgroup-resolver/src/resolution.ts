// What a process turned out to be.
import type { QosClass } from './naming.js';
import type { NetnsRef } from './netns.js';

export type ProcessResolution =
  /** In a pod's cgroup tree. */
  | {
      kind: 'pod';
      podUid: string;
      qosClass: QosClass;
      /** Undefined outside a container's cgroup: for CRI-O's monitors, and for what a runtime starts for the pod itself. */
      containerId?: string;
      /** The process's own cgroup (absolute path and id), which may lie below the container's. */
      cgroupPath: string;
      cgroupId: bigint;
      podCgroupPath: string;
      /** Undefined when it is the host's, or when the process has none because its first thread has ended. */
      netns: NetnsRef | undefined;
      /**
       * 'pod': `podNetns` found that the namespace holds the pod's addresses. 'host': it is the host's, and the process stays
       * there. 'unverified': it is another one, or none was read; ask `podNetns` before you take it for the pod's.
       */
      netnsState: 'pod' | 'host' | 'unverified';
    }
  /** Outside every pod. If the mount does not show the cgroup, the path is the kernel's own and the id is 0. */
  | { kind: 'host'; cgroupPath: string; cgroupId: bigint }
  /** It is moving into a pod: ask again shortly, and remember nothing. */
  | { kind: 'retry'; reason: string }
  | { kind: 'gone' };

export const gone: ProcessResolution = { kind: 'gone' };
