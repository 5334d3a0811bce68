// The limits of the maps, before anything is written: a pod has room in all of them or is held as a whole, so that no pod is half in the
// mesh. Pure.
import { isIP } from 'node:net';
import { WorkloadFlag, type Capacities, type CgroupInfo, type DesiredMaps } from '@sluice/datapath';
import type { Enrolment } from './enrolment.js';
import type { ServedPod } from './served.js';
import type { WorkloadStatus } from './status.js';

/**
 * Entries beside those that are configured, so that pods without room can be held, and their probes answered. They are as many as most
 * kubelets run pods at most; a pod beyond that has no entry (`refusedPods` of reconcile).
 */
const HELD_PODS = 448;
/** The same for ztunnel and the kubelet, whose connections must never be captured, and which come first. */
export const RESERVED_CGROUPS = 64;

/** Addresses of a pod, as many as the default capacities expect (OWN_ADDRESS_CAPACITY of bpf/maps.h). */
const ADDRESSES_OF_POD = 4;

/**
 * The sizes of the maps for the configured numbers. Of a pod without room at most one namespace and one IP of each family are written. If
 * it was in the mesh before, its own addresses stay (`LingeringAddresses` of reconcile) while others have been given its room.
 */
export const withReserve = (capacities: Capacities): Capacities => ({
  ...capacities,
  cgroups: capacities.cgroups + HELD_PODS + RESERVED_CGROUPS,
  netns: capacities.netns + HELD_PODS,
  localPods: capacities.localPods + 2 * HELD_PODS,
  ownAddresses: capacities.ownAddresses + ADDRESSES_OF_POD * HELD_PODS,
});

/** The capacities that pods use up, and how many entries of each a pod takes. */
const LIMITED = ['cgroups', 'netns', 'localPods', 'ownAddresses', 'excludedPorts', 'excludedCIDRs'] as const;
type Limited = (typeof LIMITED)[number];
type Use = Record<Limited, number>;

const NO_ROOM_FLAGS =
  WorkloadFlag.BYPASS_INBOUND | WorkloadFlag.ONLY_INCLUDED_INBOUND | WorkloadFlag.ONLY_INCLUDED_OUTBOUND;

/**
 * What is left of an enrolment within the configured capacities. Older pods (by their cgroups) keep their room. A pod without room has
 * only the entries by which it is held.
 */
export function withinCapacities(enrolment: Enrolment, capacities: Pick<Capacities, Limited>): Enrolment {
  const { desired, statuses, served } = enrolment;
  const uses = usesOf(desired);
  const used = noUse();
  const lacking = new Map<bigint, string>();
  for (const [id, use] of [...uses].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const full = LIMITED.find((name) => use[name] > 0 && used[name] + use[name] > capacities[name]);
    if (full === undefined) for (const name of LIMITED) used[name] += use[name];
    else
      lacking.set(
        id,
        `there is no room for it: it needs ${use[full]} of capacities.${full}, and ${used[full]} of ${capacities[full]} are taken; raise that number in the configuration, or run fewer pods on this node`,
      );
  }
  if (lacking.size === 0) return enrolment;
  return {
    ...enrolment,
    desired: held(desired, new Set(lacking.keys())),
    statuses: statuses.map((status) => withoutRoom(status, lacking)),
    served: served.map((pod) => (isLacking(pod, enrolment, lacking) ? { ...pod, ...unserved } : pod)),
  };
}

/** Where ztunnel listened, what the pod dials would not wait. */
const unserved = { isOffered: false, isAcknowledged: false };

const isLacking = (
  { cookie }: ServedPod,
  { desired: { netns } }: Enrolment,
  lacking: ReadonlyMap<bigint, string>,
): boolean => lacking.has(netns.get(cookie)?.id ?? 0n);

function withoutRoom(status: WorkloadStatus, lacking: ReadonlyMap<bigint, string>): WorkloadStatus {
  const [podLevel] = status.cgroups;
  const why = podLevel === undefined ? undefined : lacking.get(BigInt(podLevel.id));
  if (why === undefined || status.role === 'ztunnel') return status;
  if (status.state !== 'in' && status.state !== 'pending') return { ...status, problems: [...status.problems, why] };
  const { capture: _capture, ...rest } = status;
  return { ...rest, state: 'pending', code: 'no-room', reason: `pending: ${why}` };
}

const noUse = (): Use => ({
  cgroups: 0,
  netns: 0,
  localPods: 0,
  ownAddresses: 0,
  excludedPorts: 0,
  excludedCIDRs: 0,
});

const isReserved = ({ flags }: CgroupInfo): boolean => (flags & (WorkloadFlag.ZTUNNEL | WorkloadFlag.KUBELET)) !== 0;

/** By workload id. */
function usesOf({ cgroups, netns, localPods, ownAddresses, rules }: DesiredMaps): ReadonlyMap<bigint, Use> {
  const uses = new Map<bigint, Use>();
  const add = (id: bigint | undefined, name: Limited, count: number): void => {
    if (id === undefined) return;
    const use = uses.get(id) ?? noUse();
    use[name] += count;
    uses.set(id, use);
  };
  // A pod that is out has one entry, for which there is a reserve.
  for (const info of cgroups.values()) if (info.inMesh && !isReserved(info)) add(info.id, 'cgroups', 1);
  for (const { id } of netns.values()) add(id, 'netns', 1);
  for (const { netnsCookie } of localPods.values()) add(netns.get(netnsCookie)?.id, 'localPods', 1);
  for (const [cookie, ips] of ownAddresses) add(netns.get(cookie)?.id, 'ownAddresses', ips.length);
  for (const rule of rules) add(rule.workload, rule.kind === 'port' ? 'excludedPorts' : 'excludedCIDRs', 1);
  return uses;
}

/**
 * These pods have one cgroup's entry, which the cgroups in it share, and those of their namespace and of the IPs that are probed. In a
 * namespace inside of theirs they are held like everywhere else.
 */
function held(desired: DesiredMaps, without: ReadonlySet<bigint>): DesiredMaps {
  const hold = (info: CgroupInfo): CgroupInfo =>
    without.has(info.id) && info.inMesh
      ? { ...info, flags: (info.flags | WorkloadFlag.PENDING) & ~NO_ROOM_FLAGS }
      : info;
  const ofPod = (cookie: bigint): boolean => without.has(desired.netns.get(cookie)?.id ?? 0n);
  return {
    ...desired,
    cgroups: new Map(
      [...desired.cgroups].flatMap(([cgroup, info]) =>
        without.has(info.id) && cgroup !== info.id ? [] : [[cgroup, hold(info)] as const],
      ),
    ),
    netns: new Map(
      [...desired.netns].flatMap(([cookie, info]) =>
        without.has(info.id) && (info.flags & WorkloadFlag.NESTED) !== 0 ? [] : [[cookie, hold(info)] as const],
      ),
    ),
    localPods: withoutFurther(desired.localPods, ofPod),
    ownAddresses: new Map([...desired.ownAddresses].filter(([cookie]) => !ofPod(cookie))),
    rules: desired.rules.filter(({ workload }) => !without.has(workload)),
  };
}

/** Of these pods, the first address of each family. */
function withoutFurther(
  localPods: DesiredMaps['localPods'],
  isOfThem: (cookie: bigint) => boolean,
): DesiredMaps['localPods'] {
  const first = new Set<string>();
  return new Map(
    [...localPods].filter(([ip, { netnsCookie }]) => {
      if (!isOfThem(netnsCookie)) return true;
      const family = `${netnsCookie} ${isIP(ip)}`;
      if (first.has(family)) return false;
      first.add(family);
      return true;
    }),
  );
}
