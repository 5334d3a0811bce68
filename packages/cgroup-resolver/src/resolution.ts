// What a process turned out to be.
import type { QosClass } from './naming.js';
import type { NetnsRef } from './netns.js';

export type ProcessResolution =
  /** In a pod's cgroup tree. */
  | {
      kind: 'pod';
      podUid: string;
      qosClass: QosClass;
      /** Undefined outside a container's cgroup: CRI-O's monitors, and what a runtime starts for the pod itself. */
      containerId?: string;
      /** The process's own cgroup (absolute path and id), which may lie below the container's. */
      cgroupPath: string;
      cgroupId: bigint;
      podCgroupPath: string;
      /** Undefined when it is the host's, or the process has none: its first thread has ended. */
      netns: NetnsRef | undefined;
      /**
       * 'pod': the namespace that `podNetns` found to hold the pod's addresses. 'host': the host's, and settled there.
       * 'unverified': another one, or none read; ask `podNetns` before believing that it is the pod's.
       */
      netnsState: 'pod' | 'host' | 'unverified';
    }
  /** Outside every pod. Where the mount does not show the cgroup, the path is the kernel's own and the id is 0. */
  | { kind: 'host'; cgroupPath: string; cgroupId: bigint }
  /** On its way into a pod: ask again shortly, and remember nothing. */
  | { kind: 'retry'; reason: string }
  | { kind: 'gone' };

export const gone: ProcessResolution = { kind: 'gone' };
