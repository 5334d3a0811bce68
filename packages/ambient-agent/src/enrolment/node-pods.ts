// The pods of this node, each with what runs of it.
import type { NetnsRef, PodCgroup } from '@sluice/cgroup-resolver';
import type { Inventory, Pod } from '../inventory/model.js';
import { staticPodUid } from '../inventory/static-pod.js';
import { newestFirst } from './ztunnel.js';

/** A pod as it runs on this node. */
export interface Workload {
  readonly pod: PodCgroup;
  /** The namespace that the runtime made for it; undefined while no process of the pod shows one that is verified. */
  readonly netns: NetnsRef | undefined;
  /** Namespaces that lie inside of it. */
  readonly nested?: readonly NetnsRef[];
  /** Why a process of the pod does not show the pod's namespace, in words. */
  readonly refused?: string | undefined;
}

export interface NodePod {
  readonly pod: Pod;
  /** The UID in cgroupfs, which differs for a static pod. */
  readonly podUid: string;
  readonly isStatic: boolean;
}

/**
 * Those that are scheduled to this node, and those that run here whatever their objects say; newest first. Of a static pod and the mirror
 * that replaced its former one, the newest counts. Pure.
 * @param runs whether there is a cgroup with that UID
 */
export function nodePods(inventory: Inventory, nodeName: string, runs: (podUid: string) => boolean): NodePod[] {
  const taken = new Set<string>();
  return [...inventory.pods.values()]
    .filter((pod) => pod.nodeName === nodeName || runs(pod.uid))
    .sort(newestFirst)
    .map((pod) => {
      const staticUid = runs(pod.uid) ? undefined : staticPodUid(pod);
      const isStatic = staticUid !== undefined && !taken.has(staticUid) && !inventory.pods.has(staticUid);
      if (isStatic) taken.add(staticUid);
      return { pod, podUid: isStatic ? staticUid : pod.uid, isStatic: staticUid !== undefined };
    });
}

/** Every cgroup of a pod, the pod-level one first. Pure. */
export function allCgroups(pod: PodCgroup): readonly { readonly cgroupPath: string; readonly cgroupId: bigint }[] {
  return [pod, ...pod.containers, ...pod.otherCgroups];
}
