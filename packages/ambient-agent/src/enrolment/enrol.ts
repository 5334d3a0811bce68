// Enrolment: a pure function from what is wanted and what is there to what the maps ought to hold. Nothing else decides
// who is in the mesh, and nothing else writes the maps.
import {
  DEEPEST_LEVEL,
  WorkloadFlag,
  type CgroupInfo,
  type DesiredMaps,
  type LocalPod,
  type TrafficRule,
} from '@sluice/datapath';
import type { NetnsRef, PodCgroup } from '@sluice/cgroup-resolver';
import type { AgentConfig } from '../config/config.js';
import { podName, type Inventory, type Pod } from '../inventory/model.js';
import { addressOwners, type AddressOwners } from './addresses.js';
import { podExclusions } from './exclusions.js';
import { membership } from './membership.js';
import type { CgroupStatus, WorkloadStatus } from './status.js';
import { newestFirst, type Ztunnels } from './ztunnel.js';

/** A pod as the node shows it. */
export interface Workload {
  readonly pod: PodCgroup;
  /** Undefined while no process of the pod is in a namespace that is surely the pod's. */
  readonly netns: NetnsRef | undefined;
}

/** A cgroup in which a kubelet runs. */
export interface KubeletCgroup {
  readonly cgroupPath: string;
  readonly cgroupId: bigint;
  /** Depth below the cgroup2 root. */
  readonly level: number;
}

export type EnrolmentConfig = Pick<
  AgentConfig,
  'nodeName' | 'enablementSelectors' | 'excludeNamespaces' | 'exclude' | 'policy' | 'sampling' | 'ztunnel'
>;

export interface EnrolmentInput {
  readonly inventory: Inventory;
  /** By pod UID, as cgroupfs names it. */
  readonly workloads: ReadonlyMap<string, Workload>;
  readonly ztunnels: Ztunnels;
  readonly kubelets: readonly KubeletCgroup[];
  readonly hostNetnsCookie: bigint;
  readonly config: EnrolmentConfig;
}

export interface Enrolment {
  readonly desired: DesiredMaps;
  /** Sorted by namespace and name. */
  readonly statuses: readonly WorkloadStatus[];
  /** Whether another look at the node may find more of a wanted pod than there is yet. */
  readonly isIncomplete: boolean;
}

// A static pod's cgroup is named by the hash of its manifest, while the API server gives its mirror another UID
// (kubernetes pkg/kubelet/types). Only what looks like that hash is believed: a pod cannot claim another's UID by annotation.
const CONFIG_HASH_ANNOTATION = 'kubernetes.io/config.hash';
const MIRROR_ANNOTATION = 'kubernetes.io/config.mirror';
const manifestHash = /^[0-9a-f]{32}$/;

/** Each entry says who it is about; user space has decided all of these. */
const DECIDED = WorkloadFlag.AMBIENT | WorkloadFlag.ZTUNNEL | WorkloadFlag.KUBELET;

/** The name in cgroupfs of a pod. Pure. */
export function cgroupUid(pod: Pod): string {
  const hash = pod.annotations[CONFIG_HASH_ANNOTATION];
  const isMirror = Object.hasOwn(pod.annotations, MIRROR_ANNOTATION) && hash !== undefined && manifestHash.test(hash);
  return isMirror ? hash : pod.uid;
}

/** The pods of this node, newest first. Pure. */
export function localPodsOf(inventory: Inventory, nodeName: string): Pod[] {
  return [...inventory.pods.values()].filter((pod) => pod.nodeName === nodeName).sort(newestFirst);
}

/** Pure: no clock, no files; the order of pods, namespaces, workloads and kubelets does not matter. */
export function enrol(input: EnrolmentInput): Enrolment {
  const maps = new MapsBuilder(input);
  const ztunnelUids = new Set(input.ztunnels.pods.map(({ uid }) => uid));
  const owners = addressOwners(input.inventory, input.config.nodeName);
  const statuses: WorkloadStatus[] = [];
  const known = new Set<string>();
  for (const kubelet of input.kubelets) maps.addKubelet(kubelet);
  for (const pod of localPodsOf(input.inventory, input.config.nodeName)) {
    const uid = cgroupUid(pod);
    // Two pods of one cgroup are one static pod and the mirror that replaced it: the newest speaks for it.
    const workload = known.has(uid) ? undefined : input.workloads.get(uid);
    known.add(uid);
    if (ztunnelUids.has(pod.uid)) maps.addZtunnel(pod, workload);
    const { isWanted, because } = membership(pod, input.inventory, ztunnelUids, input.config);
    statuses.push(
      isWanted
        ? wantedStatus(pod, workload, because, maps, owners)
        : {
            ...describe(pod, workload),
            role: ztunnelUids.has(pod.uid) ? 'ztunnel' : 'workload',
            state: 'out',
            reason: `out: ${because}`,
            problems: ztunnelUids.has(pod.uid) && workload === undefined ? [ztunnelWithoutCgroup] : [],
          },
    );
  }
  for (const [uid, workload] of input.workloads) if (!known.has(uid)) statuses.push(strangerStatus(uid, workload));
  statuses.sort((a, b) => compare(podName(a), podName(b)) || compare(a.uid, b.uid));
  return { desired: maps.desired(), statuses, isIncomplete: maps.isIncomplete };
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function wantedStatus(
  pod: Pod,
  workload: Workload | undefined,
  because: string,
  maps: MapsBuilder,
  owners: AddressOwners,
): WorkloadStatus {
  const common = { ...describe(pod, workload), role: 'workload' as const };
  if (workload === undefined) {
    maps.isIncomplete = true;
    return { ...common, state: 'waiting', reason: 'waiting: no cgroup on this node yet', problems: [] };
  }
  const problems = [
    ...pod.badIps.map((ip) => `its status has an IP that no pod can have: ${ip}`),
    ...owners.problemsOf(pod),
    ...maps.addMeshed(pod, workload, owners.of(pod)),
  ];
  return { ...common, state: 'in', reason: `in mesh: ${because}`, problems };
}

function cgroupsOf({ pod }: Workload): CgroupStatus[] {
  return allCgroups(pod).map(({ cgroupPath, cgroupId }) => ({ path: cgroupPath, id: String(cgroupId) }));
}

function allCgroups(pod: PodCgroup): readonly { readonly cgroupPath: string; readonly cgroupId: bigint }[] {
  return [pod, ...pod.containers, ...pod.otherCgroups];
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
    reason: 'unknown: the inventory has no pod with this UID',
    problems: [],
  };
}

const ztunnelWithoutCgroup =
  'it has no cgroup on this node yet, by which its connections are told from others: those to meshed pods of this node come back to it';

/** Its containers have entries of their own; what starts later is found only from an ancestor that lookups reach. */
function depthProblems({ pod: { level } }: Workload): string[] {
  if (level <= DEEPEST_LEVEL) return [];
  return [
    `its cgroup lies ${level} levels deep and lookups reach ${DEEPEST_LEVEL}: a container that starts later is in the mesh only from the next pass on`,
  ];
}

class MapsBuilder {
  isIncomplete = false;
  readonly #input: EnrolmentInput;
  readonly #cgroups = new Map<bigint, CgroupInfo>();
  readonly #netns = new Map<bigint, CgroupInfo>();
  readonly #netnsOwner = new Map<bigint, Pod>();
  readonly #localPods = new Map<string, LocalPod>();
  readonly #rules: TrafficRule[] = [];
  readonly #levels = new Set<number>();

  constructor(input: EnrolmentInput) {
    this.#input = input;
  }

  addKubelet({ cgroupId, level }: KubeletCgroup): void {
    this.#levels.add(level);
    this.#cgroups.set(cgroupId, {
      id: cgroupId,
      inMesh: false,
      ip: undefined,
      flags: WorkloadFlag.KUBELET,
      detectedFlags: DECIDED,
    });
  }

  /** By cgroup only: whoever else enters ztunnel's network namespace is not ztunnel. */
  addZtunnel(pod: Pod, workload: Workload | undefined): void {
    if (workload === undefined) {
      this.isIncomplete = true;
      return;
    }
    this.#addCgroups(workload, {
      id: workload.pod.cgroupId,
      inMesh: false,
      ip: pod.ips[0],
      flags: WorkloadFlag.ZTUNNEL,
      detectedFlags: DECIDED,
    });
  }

  /** @returns what is not as it should be with this pod */
  addMeshed(pod: Pod, workload: Workload, ips: readonly string[]): readonly string[] {
    const { rules, problems: badExclusions } = podExclusions(pod, workload.pod.cgroupId, this.#input.config.exclude);
    const problems = [...badExclusions, ...depthProblems(workload)];
    const info: CgroupInfo = {
      id: workload.pod.cgroupId,
      inMesh: true,
      ip: ips[0],
      flags: WorkloadFlag.AMBIENT,
      detectedFlags: DECIDED,
    };
    this.#rules.push(...rules);
    this.#addCgroups(workload, info);
    const netnsProblem = this.#addNetns(pod, workload, info);
    for (const ip of ips)
      this.#localPods.set(ip, { netnsCookie: workload.netns?.cookie ?? 0n, flags: WorkloadFlag.AMBIENT });
    if (ips.length === 0 && pod.ips.length === 0) {
      this.isIncomplete = true;
      return [...problems, 'it has no IP yet: who dials it goes there directly'];
    }
    return netnsProblem === undefined ? problems : [...problems, netnsProblem];
  }

  #addCgroups({ pod }: Workload, info: CgroupInfo): void {
    // A container's cgroup and what is nested in it lie below the pod's, so the pod's level is the only one that a lookup
    // which missed its own cgroup has to try.
    this.#levels.add(pod.level);
    for (const { cgroupId } of allCgroups(pod)) this.#cgroups.set(cgroupId, info);
  }

  #addNetns(pod: Pod, { netns }: Workload, info: CgroupInfo): string | undefined {
    if (netns === undefined) {
      this.isIncomplete = true;
      return 'its network namespace is not known yet: processes that enter it from outside its cgroup are not in the mesh';
    }
    // Pods come newest first.
    const other = this.#netnsOwner.get(netns.cookie);
    if (other !== undefined) return `its network namespace is that of the newer pod ${podName(other)}`;
    this.#netnsOwner.set(netns.cookie, pod);
    this.#netns.set(netns.cookie, info);
    return undefined;
  }

  desired(): DesiredMaps {
    const { config, ztunnels, hostNetnsCookie } = this.#input;
    return {
      cgroups: this.#cgroups,
      netns: this.#netns,
      localPods: this.#localPods,
      rules: this.#rules,
      settings: {
        ztunnelIPv4: ztunnels.ipv4,
        ztunnelIPv6: ztunnels.ipv6,
        noZtunnel: config.policy.noZtunnel,
        pending: config.policy.pending,
        ztunnelByMark: config.ztunnel.byMark,
        probesExempt: 'kubelet',
        hostNetnsCookie,
        cgroupLevels: [...this.#levels].sort((a, b) => a - b),
        sampleEvery: config.sampling,
      },
    };
  }
}
