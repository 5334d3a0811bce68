// What the maps hold while an agent takes over: the programs of the earlier agent decide by them until the new ones are attached.
import { WorkloadFlag, type CgroupInfo, type DesiredMaps } from '@sluice/datapath';

/**
 * The same, but pods that the earlier agent captured by route still are. Whoever is captured by rewrite needs programs at the pod's
 * and at ztunnel's cgroup, and without them each of its connections would be refused. Pure.
 * @param routed cookies of the network namespaces of those pods
 * @returns undefined if that makes no difference
 */
export function withFormerRoutes(desired: DesiredMaps, routed: ReadonlySet<bigint>): DesiredMaps | undefined {
  const changing = [...desired.netns].filter(
    ([cookie, { flags }]) =>
      routed.has(cookie) && (flags & WorkloadFlag.IN_POD) !== 0 && (flags & WorkloadFlag.ROUTE) === 0,
  );
  if (changing.length === 0) return undefined;
  const ids = new Set(changing.map(([, { id }]) => id));
  const withRoute = (info: CgroupInfo): CgroupInfo =>
    ids.has(info.id) ? { ...info, flags: info.flags | WorkloadFlag.ROUTE } : info;
  const changed = <Key>(entries: ReadonlyMap<Key, CgroupInfo>): ReadonlyMap<Key, CgroupInfo> =>
    new Map([...entries].map(([key, info]) => [key, withRoute(info)]));
  return { ...desired, cgroups: changed(desired.cgroups), netns: changed(desired.netns) };
}
