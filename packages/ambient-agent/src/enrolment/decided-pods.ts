// The pods of this node, what is decided about each, and to which of them a network namespace and an address belong.
import { isTerminal } from '../inventory/model.js';
import { addressOwners } from './addresses.js';
import type { EnrolmentInput } from './enrolment.js';
import { membership, type Membership } from './membership.js';
import { nodePods, type NodePod, type Workload } from './node-pods.js';

/** A pod of this node, with what was decided about it. */
export interface DecidedPod extends NodePod {
  readonly workload: Workload | undefined;
  readonly decision: Membership;
  /** It is not wanted any more, and stays in the mesh for a while. */
  readonly isLeaving: boolean;
}

/** The pods of this node, newest first, and which of them are wanted. Pure. */
export function decidedPods({
  inventory,
  workloads,
  ztunnels,
  config,
  served,
}: Pick<EnrolmentInput, 'inventory' | 'ztunnels' | 'config' | 'served'> & {
  readonly workloads: ReadonlyMap<string, Workload>;
}): DecidedPod[] {
  const ztunnelUids = new Set(ztunnels.pods.map(({ uid }) => uid));
  return nodePods(inventory, config.nodeName, (uid) => workloads.has(uid)).map((one) => {
    const { pod, podUid, isStatic } = one;
    const workload = workloads.get(podUid);
    const decision = membership(pod, inventory, ztunnelUids, config, isStatic);
    if (workload === undefined && isTerminal(pod) && decision.verdict !== 'out') {
      const ended = { verdict: 'out', code: 'ended', because: `has ended (${pod.phase})` } as const;
      return { ...one, workload, decision: ended, isLeaving: false };
    }
    const isLeaving = decision.verdict === 'out' && workload !== undefined && served?.leaving.has(pod.uid) === true;
    return isLeaving
      ? { ...one, workload, decision: { verdict: 'wanted', because: `leaving: ${decision.because}` }, isLeaving }
      : { ...one, workload, decision, isLeaving };
  });
}

/** What a pod's processes show, or what is remembered of it. */
const cookieOf = ({ pod, workload }: DecidedPod, served: EnrolmentInput['served']): bigint | undefined =>
  workload?.netns?.cookie ?? served?.remembered.get(pod.uid);

/**
 * A namespace that the processes of several pods show belongs to the one that is in the mesh with it, and otherwise to the one whose cgroup
 * the kernel made first.
 */
export function netnsOwners({ served }: EnrolmentInput, pods: readonly DecidedPod[]): ReadonlyMap<bigint, DecidedPod> {
  const owners = new Map<bigint, DecidedPod>();
  const isFirst = (one: DecidedPod, other: DecidedPod, cookie: bigint): boolean => {
    const isIn = ({ pod }: DecidedPod): boolean => served?.acknowledged.get(pod.uid) === cookie;
    if (isIn(one) !== isIn(other)) return isIn(one);
    return (one.workload?.pod.cgroupId ?? 0n) < (other.workload?.pod.cgroupId ?? 0n);
  };
  for (const one of pods) {
    const cookie = one.workload === undefined || one.decision.verdict === 'out' ? undefined : cookieOf(one, served);
    if (cookie === undefined) continue;
    const other = owners.get(cookie);
    if (other === undefined || isFirst(one, other, cookie)) owners.set(cookie, one);
  }
  return owners;
}

/**
 * Whoever is in the pod network may hold an address, in the namespace that is its own. In `node` mode the namespace of a pod need not be
 * known.
 */
export function ownersOf(
  { config, addresses, served }: EnrolmentInput,
  pods: readonly DecidedPod[],
  netnsOwners: ReadonlyMap<bigint, DecidedPod>,
): ReturnType<typeof addressOwners> {
  const claims = pods
    .filter(({ pod, workload }) => !pod.hostNetwork && !(isTerminal(pod) && workload === undefined))
    .map((one) => {
      const { pod } = one;
      const shown = cookieOf(one, served);
      const cookie = shown !== undefined && netnsOwners.get(shown)?.pod.uid === pod.uid ? shown : undefined;
      return {
        pod,
        cookie,
        held: cookie === undefined ? [] : (addresses?.get(cookie) ?? []),
        isEstablished: cookie !== undefined && served?.acknowledged.get(pod.uid) === cookie,
      };
    });
  return addressOwners(claims, config.mode === 'node');
}
