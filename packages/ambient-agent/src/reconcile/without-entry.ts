// What stands in for entries that could not be written, because a map is full or the kernel refuses. Pure.
import {
  NOT_IN_MESH,
  WorkloadFlag,
  cgroupOfEntry,
  netnsOfEntry,
  type ApplyFailure,
  type DesiredMaps,
  type Place,
} from '@sluice/datapath';
import type { NodeTruth } from '../node/node-view.js';

/**
 * The pods that are to be in the mesh and whose own cgroup has no entry. What they dial is refused, unless it may go past the mesh while
 * they are pending.
 */
export function refusedPods(
  failures: readonly ApplyFailure[],
  { cgroups }: Pick<DesiredMaps, 'cgroups'>,
  workloads: NodeTruth['workloads'],
): Place[] {
  const unwritten = new Set(failures.map(cgroupOfEntry));
  return [...workloads.values()].flatMap(({ pod: { cgroupId: id, cgroupPath: path } }) => {
    const info = cgroups.get(id);
    const isToGo = info?.inMesh === true && (info.flags & WorkloadFlag.OPEN_WAITING) === 0;
    return isToGo && unwritten.has(id) ? [{ path, id }] : [];
  });
}

/**
 * In a namespace without an entry nothing comes in once the inbound program is there. So a pod that enters the mesh or leaves it has one
 * that says otherwise.
 * @param captured cookies of the namespaces that have the program, or get it
 */
export function withThoseOut(desired: DesiredMaps, captured: Iterable<bigint>): DesiredMaps {
  const out = [...captured].filter((cookie) => !desired.netns.has(cookie));
  if (out.length === 0) return desired;
  return { ...desired, netns: new Map([...desired.netns, ...out.map((cookie) => [cookie, NOT_IN_MESH] as const)]) };
}

/**
 * Cookies of the namespaces that have no such entry although they ought to. A pod that enters the mesh connects as before until its namespace is
 * prepared; with the inbound program nobody would reach it meanwhile.
 */
export function withoutWayIn(
  failures: readonly ApplyFailure[],
  { netns }: Pick<DesiredMaps, 'netns'>,
): ReadonlySet<bigint> {
  const unwritten = failures.flatMap((failure) => netnsOfEntry(failure) ?? []);
  return new Set(unwritten.filter((cookie) => netns.get(cookie) === NOT_IN_MESH));
}
