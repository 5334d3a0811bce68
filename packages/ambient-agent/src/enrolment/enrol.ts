// Enrolment: a pure function from what is wanted and what runs to what the maps ought to hold. Nothing else decides
// which pods are in the mesh, and only its result is written to the maps.
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
import { ambientAnnotations } from './annotations.js';
import { captureOf, isRoutable, nothingSeen, type Capture, type CaptureFacts } from './capture.js';
import { membership } from './membership.js';
import { ownAddresses } from './own-addresses.js';
import { noneServed, type InPodFacts, type ServedPod } from './served.js';
import type { CgroupStatus, WorkloadStatus } from './status.js';
import { podTraffic } from './traffic-rules.js';
import { newestFirst, type Ztunnels } from './ztunnel.js';

/** A pod as it runs on this node. */
export interface Workload {
  readonly pod: PodCgroup;
  /** Undefined while no process of the pod is in a namespace that is verified to be the pod's. */
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
  | 'mode'
  | 'capture'
  | 'nodeName'
  | 'enablementSelectors'
  | 'excludeNamespaces'
  | 'exclude'
  | 'policy'
  | 'probes'
  | 'ambient'
  | 'sampling'
  | 'ztunnel'
>;

export interface EnrolmentInput {
  readonly inventory: Inventory;
  /** By pod UID, as cgroupfs names it. */
  readonly workloads: ReadonlyMap<string, Workload>;
  readonly ztunnels: Ztunnels;
  readonly kubelets: readonly KubeletCgroup[];
  readonly hostNetnsCookie: bigint;
  readonly config: EnrolmentConfig;
  /** What `inPod` mode knows in addition. */
  readonly served?: InPodFacts;
  /** What decides how a pod is captured. Without it, no pod is captured by route. */
  readonly capture?: CaptureFacts;
  /** The addresses that network namespaces hold, by their cookies. Without an entry, a pod has only its IPs. */
  readonly addresses?: ReadonlyMap<bigint, readonly string[]>;
}

export interface Enrolment {
  readonly desired: DesiredMaps;
  /** Sorted by namespace and name. */
  readonly statuses: readonly WorkloadStatus[];
  /** In `inPod` mode, the pods whose network namespaces ztunnel is to listen in; each namespace once. */
  readonly served: readonly ServedPod[];
  /** Whether a later look at the node may find more of a wanted pod. */
  readonly isIncomplete: boolean;
}

// A static pod's cgroup is named by the hash of its manifest, while the API server gives its mirror another UID
// (kubernetes pkg/kubelet/types). Only what looks like that hash is believed: a pod cannot claim another's UID by annotation.
const CONFIG_HASH_ANNOTATION = 'kubernetes.io/config.hash';
const MIRROR_ANNOTATION = 'kubernetes.io/config.mirror';
const manifestHash = /^[0-9a-f]{32}$/;

/** The flags that user space has decided in each entry. */
const DECIDED = WorkloadFlag.AMBIENT | WorkloadFlag.ZTUNNEL | WorkloadFlag.KUBELET;
const DECIDED_IN_POD =
  DECIDED |
  WorkloadFlag.IN_POD |
  WorkloadFlag.PENDING |
  WorkloadFlag.DNS_CAPTURE |
  WorkloadFlag.BYPASS_INBOUND |
  WorkloadFlag.ROUTE;

/** The UID of a pod in cgroupfs. Pure. */
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
    // Two pods with one cgroup are a static pod and the mirror that replaced it; the newest one counts.
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
  return { desired: maps.desired(), statuses, served: maps.served, isIncomplete: maps.isIncomplete };
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
    return { ...common, state: 'pending', reason: 'pending: no cgroup on this node yet', problems: [] };
  }
  const { problems, pending, inbound, capture } = maps.addMeshed(pod, workload, owners.of(pod));
  return {
    ...common,
    ...(inbound === undefined ? {} : { inbound }),
    ...(pending === undefined
      ? { state: 'in' as const, reason: `in mesh: ${because}`, capture }
      : { state: 'pending' as const, reason: `pending: ${pending}` }),
    problems: [
      ...pod.badIps.map((ip) => `its status has an IP that no pod can have: ${ip}`),
      ...owners.problemsOf(pod),
      ...problems,
    ],
  };
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
  'it has no cgroup on this node yet, so its connections cannot be told from others, and those to meshed pods of this node come back to it';

/** Its containers have entries of their own, but a later one is found only by an ancestor that lookups reach. */
function depthProblems({ pod: { level } }: Workload): string[] {
  if (level <= DEEPEST_LEVEL) return [];
  return [
    `its cgroup lies ${level} levels deep and lookups reach ${DEEPEST_LEVEL}: a container that starts later is in the mesh only from the next pass on`,
  ];
}

/** The result for a pod that is wanted. */
interface Meshed {
  readonly problems: readonly string[];
  /** Why it is pending; undefined if it is in the mesh. */
  readonly pending: string | undefined;
  readonly inbound: WorkloadStatus['inbound'];
  readonly capture: Capture;
}

/** A pod's network namespace, as its processes show it now, or as it is remembered. */
interface KnownNetns {
  readonly cookie: bigint | undefined;
  readonly problem: string | undefined;
}

class MapsBuilder {
  isIncomplete = false;
  readonly served: ServedPod[] = [];
  readonly #input: EnrolmentInput;
  readonly #inPod: InPodFacts;
  readonly #cgroups = new Map<bigint, CgroupInfo>();
  readonly #netns = new Map<bigint, CgroupInfo>();
  readonly #netnsOwner = new Map<bigint, Pod>();
  readonly #localPods = new Map<string, LocalPod>();
  readonly #ownAddresses = new Map<bigint, readonly string[]>();
  readonly #rules: TrafficRule[] = [];
  readonly #levels = new Set<number>();

  constructor(input: EnrolmentInput) {
    this.#input = input;
    this.#inPod = input.served ?? noneServed;
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

  /** By cgroup only, because another process that enters ztunnel's network namespace is not ztunnel. */
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

  addMeshed(pod: Pod, workload: Workload, ips: readonly string[]): Meshed {
    const id = workload.pod.cgroupId;
    const { config } = this.#input;
    const isInPod = config.mode === 'inPod';
    const traffic = podTraffic(pod, id, config.exclude);
    const ambient = ambientAnnotations(pod, config.ambient);
    const netns = this.#netnsOf(pod, workload);
    const pending = isInPod ? this.#whyPending(pod, netns) : undefined;
    const facts = this.#input.capture ?? nothingSeen;
    // Who has not acknowledged the pod does not listen for it.
    const seen = pending === undefined ? facts : { ...facts, listeners: nothingSeen.listeners };
    const own = ownAddresses(ips, isInPod ? (this.#input.addresses?.get(netns.cookie ?? 0n) ?? []) : []);
    const capture = captureOf({ pod, cookie: netns.cookie, config, facts: seen, addressProblem: own.problem });
    const info: CgroupInfo = {
      id,
      inMesh: true,
      ip: ips[0],
      flags:
        WorkloadFlag.AMBIENT |
        traffic.flags |
        (isInPod ? WorkloadFlag.IN_POD : 0) |
        (pending === undefined ? 0 : WorkloadFlag.PENDING) |
        (isInPod && ambient.dnsCapture ? WorkloadFlag.DNS_CAPTURE : 0) |
        (isInPod && ambient.bypassInbound ? WorkloadFlag.BYPASS_INBOUND : 0) |
        (capture.by === 'route' ? WorkloadFlag.ROUTE : 0),
      detectedFlags: isInPod ? DECIDED_IN_POD : DECIDED,
    };
    this.#rules.push(...traffic.rules);
    this.#addCgroups(workload, info);
    if (netns.cookie !== undefined) this.#netns.set(netns.cookie, info);
    const flags = WorkloadFlag.AMBIENT | (isInPod ? WorkloadFlag.IN_POD : 0);
    for (const ip of ips) this.#localPods.set(ip, { netnsCookie: netns.cookie ?? 0n, flags });
    if (isInPod && netns.cookie !== undefined) {
      this.#ownAddresses.set(netns.cookie, own.addresses);
      this.#serve(pod, workload, { ips, cookie: netns.cookie, capture, isAcknowledged: pending === undefined });
    }
    return {
      problems: [
        ...traffic.problems,
        ...(isInPod ? ambient.problems : []),
        ...depthProblems(workload),
        ...(own.problem === undefined ? [] : [own.problem]),
        ...this.#addressProblems(pod, netns),
      ],
      pending,
      capture,
      inbound: isInPod ? (netns.cookie === undefined ? 'no' : ambient.bypassInbound ? 'bypassed' : 'yes') : undefined,
    };
  }

  #addCgroups({ pod }: Workload, info: CgroupInfo): void {
    // A container's cgroup and what is nested in it lie below the pod's. So a lookup that did not find its own cgroup has to try
    // only the pod's level.
    this.#levels.add(pod.level);
    for (const { cgroupId } of allCgroups(pod)) this.#cgroups.set(cgroupId, info);
  }

  /** Claims the namespace for the pod, unless a newer pod has it. Pods come newest first. */
  #netnsOf(pod: Pod, { netns }: Workload): KnownNetns {
    const cookie = netns?.cookie ?? this.#inPod.remembered.get(pod.uid);
    if (cookie === undefined) {
      this.isIncomplete = true;
      return { cookie, problem: undefined };
    }
    const other = this.#netnsOwner.get(cookie);
    if (other !== undefined)
      return { cookie: undefined, problem: `its network namespace is that of the newer pod ${podName(other)}` };
    this.#netnsOwner.set(cookie, pod);
    return { cookie, problem: undefined };
  }

  #whyPending(pod: Pod, { cookie, problem }: KnownNetns): string | undefined {
    if (problem !== undefined) return problem;
    if (cookie === undefined)
      return pod.ips.length === 0 ? 'it has no IP yet' : 'its network namespace is not known yet';
    if (this.#inPod.acknowledged.get(pod.uid) === cookie) return undefined;
    const refusal = this.#inPod.refusals.get(pod.uid);
    if (refusal !== undefined) return refusal;
    return this.#inPod.isConnected ? 'ztunnel has not acknowledged it yet' : 'no ztunnel is connected';
  }

  #serve(
    pod: Pod,
    { pod: { podUid }, netns }: Workload,
    how: Pick<ServedPod, 'ips' | 'cookie' | 'capture' | 'isAcknowledged'>,
  ): void {
    const { uid, name, namespace, serviceAccount } = pod;
    const { config } = this.#input;
    // What is remembered has no path any more: a pid may be another process's by now.
    this.served.push({
      uid,
      podUid,
      name,
      namespace,
      serviceAccount,
      netns,
      ...how,
      isRoutable: isRoutable({ pod, config }),
    });
  }

  /** What is not captured because an address or a namespace is missing; in `inPod` mode the pod is pending then. */
  #addressProblems(pod: Pod, { cookie, problem }: KnownNetns): string[] {
    if (this.#input.config.mode === 'inPod') return [];
    if (pod.ips.length === 0) return ['it has no IP yet: connections to it go there directly'];
    if (problem !== undefined) return [problem];
    if (cookie !== undefined) return [];
    return [
      'its network namespace is not known yet: processes that enter it from outside its cgroup are not in the mesh',
    ];
  }

  desired(): DesiredMaps {
    const { config, ztunnels, hostNetnsCookie } = this.#input;
    const isNode = config.mode === 'node';
    return {
      cgroups: this.#cgroups,
      netns: this.#netns,
      localPods: this.#localPods,
      ownAddresses: this.#ownAddresses,
      rules: this.#rules,
      settings: {
        ztunnelIPv4: isNode ? ztunnels.ipv4 : undefined,
        ztunnelIPv6: isNode ? ztunnels.ipv6 : undefined,
        noZtunnel: config.policy.noZtunnel,
        pending: config.policy.pending,
        ztunnelByMark: config.ztunnel.byMark,
        probesExempt: config.probes.exempt,
        hostNetnsCookie,
        cgroupLevels: [...this.#levels].sort((a, b) => a - b),
        sampleEvery: config.sampling,
      },
    };
  }
}
