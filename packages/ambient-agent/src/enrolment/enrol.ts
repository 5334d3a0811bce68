// Enrolment: a pure function from what is wanted and what runs to what the maps ought to hold. Nothing else decides
// which pods are in the mesh, and only its result is written to the maps.
import { podName, type Pod } from '../inventory/model.js';
import { decidedPods, netnsOwners, ownersOf, type DecidedPod } from './decided-pods.js';
import type { Enrolment, EnrolmentInput } from './enrolment.js';
import { MapsBuilder, pendingFor } from './maps-builder.js';
import type { Membership } from './membership.js';
import { allCgroups, type Workload } from './node-pods.js';
import type { CgroupStatus, WorkloadStatus } from './status.js';

/** Pure: no clock, no files; the order of pods, namespaces, workloads and kubelets does not matter. */
export function enrol(input: EnrolmentInput): Enrolment {
  const pods = decidedPods(input);
  const owners = netnsOwners(input, pods);
  const maps = new MapsBuilder(input, owners, ownersOf(input, pods, owners));
  const statuses: WorkloadStatus[] = [];
  for (const kubelet of input.kubelets) maps.addKubelet(kubelet);
  for (const one of pods) {
    const { pod, workload, decision } = one;
    if (decision.verdict !== 'out') {
      statuses.push(wantedStatus(one, maps));
      continue;
    }
    const isZtunnel = decision.code === 'ztunnel';
    if (isZtunnel) maps.addZtunnel(pod, workload);
    else if (workload !== undefined) maps.addOut(workload);
    statuses.push(outStatus(one, decision));
  }
  const known = new Set(pods.map(({ podUid }) => podUid));
  for (const [uid, workload] of input.workloads) if (!known.has(uid)) statuses.push(strangerStatus(uid, workload));
  statuses.sort((a, b) => compare(podName(a), podName(b)) || compare(a.uid, b.uid));
  return { desired: maps.desired(), statuses, served: maps.served, isIncomplete: maps.isIncomplete };
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function wantedStatus({ pod, workload, decision, isLeaving }: DecidedPod, maps: MapsBuilder): WorkloadStatus {
  const common = { ...describe(pod, workload), role: 'workload' as const };
  if (workload === undefined) {
    maps.isIncomplete = true;
    const reason = 'pending: no cgroup on this node yet';
    return { ...common, state: 'pending', code: 'no-cgroup', reason, problems: [] };
  }
  const undecided = decision.verdict === 'undecided' ? pendingFor('undecided', decision.because) : undefined;
  const { ips, problems, pending, inbound, capture } = maps.addMeshed(pod, workload, undecided);
  return {
    ...common,
    ips,
    ...(inbound === undefined ? {} : { inbound }),
    ...(pending === undefined
      ? {
          state: 'in' as const,
          code: isLeaving ? ('leaving' as const) : ('selected' as const),
          reason: isLeaving ? decision.because : `in mesh: ${decision.because}`,
          capture,
        }
      : { state: 'pending' as const, code: pending.code, reason: `pending: ${pending.because}` }),
    problems: [...pod.badIps.map((ip) => `its status has an IP that no pod can have: ${ip}`), ...problems],
  };
}

function outStatus(
  { pod, workload }: DecidedPod,
  { code, because }: Extract<Membership, { verdict: 'out' }>,
): WorkloadStatus {
  const isZtunnel = code === 'ztunnel';
  return {
    ...describe(pod, workload),
    role: isZtunnel ? 'ztunnel' : 'workload',
    state: 'out',
    code,
    reason: `out: ${because}`,
    problems: [
      ...(isZtunnel && workload === undefined ? [ztunnelWithoutCgroup] : []),
      ...(code === 'static-pod' ? [`it is not in the mesh, although its labels say so: it ${because}`] : []),
    ],
  };
}

function cgroupsOf({ pod }: Workload): CgroupStatus[] {
  return allCgroups(pod).map(({ cgroupPath, cgroupId }) => ({ path: cgroupPath, id: String(cgroupId) }));
}

function describe(
  pod: Pod,
  workload: Workload | undefined,
): Pick<WorkloadStatus, 'uid' | 'namespace' | 'name' | 'ips' | 'cgroups' | 'netnsCookie'> {
  return {
    uid: pod.uid,
    namespace: pod.namespace,
    name: pod.name,
    ips: pod.ips,
    cgroups: workload === undefined ? [] : cgroupsOf(workload),
    netnsCookie: workload?.netns === undefined ? undefined : String(workload.netns.cookie),
  };
}

function strangerStatus(uid: string, workload: Workload): WorkloadStatus {
  return {
    uid,
    namespace: '',
    name: '',
    ips: [],
    cgroups: cgroupsOf(workload),
    netnsCookie: undefined,
    role: 'workload',
    state: 'unknown',
    code: 'no-object',
    reason: 'unknown: the inventory has no pod with this UID',
    problems: [],
  };
}

const ztunnelWithoutCgroup =
  'it has no cgroup on this node yet, so its connections cannot be told from others, and those to meshed pods of this node come back to it';
