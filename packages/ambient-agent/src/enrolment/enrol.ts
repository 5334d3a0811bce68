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
import type { PodCgroup } from '@sluice/cgroup-resolver';
import type { AgentConfig } from '../config/config.js';
import { isTerminal, podName, type Inventory, type Pod } from '../inventory/model.js';
import { addressOwners, type HeldAddress, type OwnedAddresses } from './addresses.js';
import { ambientAnnotations } from './annotations.js';
import { captureOf, isRoutable, nothingSeen, type Capture, type CaptureFacts } from './capture.js';
import { membership, type Membership } from './membership.js';
import { nodePods, type NodePod, type Workload } from './node-pods.js';
import { ownAddresses } from './own-addresses.js';
import { noneServed, type InPodFacts, type ServedPod } from './served.js';
import type { CgroupStatus, PendingCode, WorkloadStatus } from './status.js';
import { podTraffic } from './traffic-rules.js';
import { WAITING_FLAGS, waitingPolicy, type WaitingPolicy } from './waiting.js';
import type { Ztunnels } from './ztunnel.js';

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
  | 'inventory'
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
  /** UIDs of the pods whose connections have been held long enough. */
  readonly overdue?: ReadonlySet<string>;
  /** The addresses that network namespaces hold, by their cookies. */
  readonly addresses?: ReadonlyMap<bigint, readonly HeldAddress[]>;
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

/** The flags that user space has decided in each entry. */
const DECIDED = WorkloadFlag.AMBIENT | WorkloadFlag.ZTUNNEL | WorkloadFlag.KUBELET;
const DECIDED_IN_POD =
  DECIDED |
  WorkloadFlag.IN_POD |
  WorkloadFlag.PENDING |
  WAITING_FLAGS |
  WorkloadFlag.DNS_CAPTURE |
  WorkloadFlag.BYPASS_INBOUND |
  WorkloadFlag.ROUTE;

/** Pure: no clock, no files; the order of pods, namespaces, workloads and kubelets does not matter. */
export function enrol(input: EnrolmentInput): Enrolment {
  const pods = decidedPods(input);
  const maps = new MapsBuilder(input, netnsOwners(input, pods), ownersOf(input, pods));
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
function netnsOwners({ served }: EnrolmentInput, pods: readonly DecidedPod[]): ReadonlyMap<bigint, DecidedPod> {
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

/** Whoever is in the pod network may hold an address. In `node` mode the namespace of a pod need not be known. */
function ownersOf(
  { config, addresses, served }: EnrolmentInput,
  pods: readonly DecidedPod[],
): ReturnType<typeof addressOwners> {
  const claims = pods
    .filter(({ pod, workload }) => !pod.hostNetwork && !(isTerminal(pod) && workload === undefined))
    .map((one) => {
      const { pod, decision } = one;
      const cookie = decision.verdict === 'out' ? undefined : cookieOf(one, served);
      return {
        pod,
        cookie,
        held: cookie === undefined ? [] : (addresses?.get(cookie) ?? []),
        isEstablished: cookie !== undefined && served?.acknowledged.get(pod.uid) === cookie,
      };
    });
  return addressOwners(claims, config.mode === 'node');
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

/** Why a pod is pending. */
interface PendingReason {
  readonly code: PendingCode;
  readonly because: string;
}

const pendingFor = (code: PendingCode, because: string): PendingReason => ({ code, because });

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
    code: 'no-object',
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
  readonly ips: readonly string[];
  readonly problems: readonly string[];
  /** Undefined if it is in the mesh. */
  readonly pending: PendingReason | undefined;
  readonly inbound: WorkloadStatus['inbound'];
  readonly capture: Capture;
}

/**
 * For a pod that ztunnel has not acknowledged: nobody listens for it yet, but what it dials waits for a listener by the way by which it
 * will be captured. Until its namespace is prepared, it is refused.
 */
function withExpected(facts: CaptureFacts, cookie: bigint | undefined): CaptureFacts {
  const { expected } = facts;
  if (cookie === undefined || expected === undefined) return { ...facts, listeners: nothingSeen.listeners };
  return { ...facts, listeners: new Map([[cookie, expected]]), prepared: new Set([cookie]) };
}

/** A pod's network namespace, as its processes show it now, or as it is remembered. */
interface KnownNetns {
  readonly cookie: bigint | undefined;
  readonly problem: string | undefined;
}

/** A pod can make any number of namespaces, and the map that holds those of all pods must not be filled by one. */
const MOST_NESTED = 16;

class MapsBuilder {
  isIncomplete = false;
  readonly served: ServedPod[] = [];
  readonly #input: EnrolmentInput;
  readonly #inPod: InPodFacts;
  readonly #ownersOf: ReturnType<typeof addressOwners>;
  readonly #cgroups = new Map<bigint, CgroupInfo>();
  readonly #netns = new Map<bigint, CgroupInfo>();
  readonly #netnsOwners: ReadonlyMap<bigint, DecidedPod>;
  readonly #localPods = new Map<string, LocalPod>();
  readonly #ownAddresses = new Map<bigint, readonly string[]>();
  readonly #rules: TrafficRule[] = [];
  readonly #levels = new Set<number>();

  constructor(
    input: EnrolmentInput,
    netnsOwners: ReadonlyMap<bigint, DecidedPod>,
    owners: ReturnType<typeof addressOwners>,
  ) {
    this.#input = input;
    this.#netnsOwners = netnsOwners;
    this.#ownersOf = owners;
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

  /** An entry says that the agent has decided; without one, the pod is unknown. */
  addOut({ pod }: Workload): void {
    this.#levels.add(pod.level);
    this.#cgroups.set(pod.cgroupId, {
      id: pod.cgroupId,
      inMesh: false,
      ip: undefined,
      flags: 0,
      detectedFlags: DECIDED,
    });
  }

  /** @param undecided why it is not known yet whether it is wanted */
  addMeshed(pod: Pod, workload: Workload, undecided: PendingReason | undefined): Meshed {
    const id = workload.pod.cgroupId;
    const { config } = this.#input;
    const isInPod = config.mode === 'inPod';
    const traffic = podTraffic(pod, id, config.exclude);
    const ambient = ambientAnnotations(pod, config.ambient);
    const netns = this.#netnsOf(pod, workload);
    const owned = this.#ownersOf(pod);
    const held = this.#input.addresses?.get(netns.cookie ?? 0n) ?? [];
    const pending = isInPod ? (undecided ?? this.#whyPending(pod, workload, netns, owned)) : undefined;
    const waiting = this.#waitingOf(pod, pending !== undefined);
    const facts = this.#input.capture ?? nothingSeen;
    const seen = pending === undefined ? facts : withExpected(facts, netns.cookie);
    const own = ownAddresses(
      owned.own,
      held.map(({ address }) => address),
    );
    const capture = captureOf({ pod, cookie: netns.cookie, config, facts: seen, addressProblem: own.problem });
    const info: CgroupInfo = {
      id,
      inMesh: true,
      ip: owned.own[0],
      flags:
        WorkloadFlag.AMBIENT |
        traffic.flags |
        (isInPod ? WorkloadFlag.IN_POD : 0) |
        (pending === undefined ? 0 : WorkloadFlag.PENDING) |
        waiting.flags |
        (isInPod && ambient.dnsCapture ? WorkloadFlag.DNS_CAPTURE : 0) |
        (isInPod && ambient.bypassInbound ? WorkloadFlag.BYPASS_INBOUND : 0) |
        (capture.by === 'route' ? WorkloadFlag.ROUTE : 0),
      detectedFlags: isInPod ? DECIDED_IN_POD : DECIDED,
    };
    if (pending?.code === 'entering') this.addOut(workload);
    else {
      this.#rules.push(...traffic.rules);
      this.#addCgroups(workload, info);
      this.#addNetns(netns.cookie, info, owned, isInPod ? own.addresses : []);
      if (isInPod) this.#addNested(workload, info);
    }
    const isAcknowledged = netns.cookie !== undefined && this.#inPod.acknowledged.get(pod.uid) === netns.cookie;
    if (isInPod && netns.cookie !== undefined)
      this.#serve(pod, workload, {
        ips: owned.own,
        cookie: netns.cookie,
        capture,
        isAcknowledged,
        isOffered: undecided === undefined && pending?.code !== 'entering' && pending?.code !== 'address-held',
      });
    return {
      ips: netns.cookie === undefined ? pod.ips : owned.own,
      problems: [
        ...traffic.problems,
        ...(isInPod ? ambient.problems : []),
        ...waiting.problems,
        ...depthProblems(workload),
        ...(own.problem === undefined ? [] : [own.problem]),
        ...this.#addressProblems(pod, netns, owned),
      ],
      pending,
      capture,
      inbound: isInPod ? (netns.cookie === undefined ? 'no' : ambient.bypassInbound ? 'bypassed' : 'yes') : undefined,
    };
  }

  #addNetns(
    cookie: bigint | undefined,
    info: CgroupInfo,
    { own }: OwnedAddresses,
    ownAddresses: readonly string[],
  ): void {
    const flags = info.flags & (WorkloadFlag.AMBIENT | WorkloadFlag.IN_POD);
    for (const ip of own) this.#localPods.set(ip, { netnsCookie: cookie ?? 0n, flags });
    if (cookie === undefined) return;
    this.#netns.set(cookie, info);
    if (ownAddresses.length > 0) this.#ownAddresses.set(cookie, ownAddresses);
  }

  /** What a process of the pod does in another namespace than the pod's passes only if that is known to lie inside of the pod. */
  #addNested({ nested = [] }: Workload, { id, flags, ...info }: CgroupInfo): void {
    for (const { cookie } of nested.slice(0, MOST_NESTED))
      if (!this.#netns.has(cookie))
        this.#netns.set(cookie, {
          ...info,
          id,
          ip: undefined,
          flags: (flags & WorkloadFlag.AMBIENT) | WorkloadFlag.NESTED,
        });
  }

  #addCgroups({ pod }: Workload, info: CgroupInfo): void {
    // A container's cgroup and what is nested in it lie below the pod's. So a lookup that did not find its own cgroup has to try
    // only the pod's level.
    this.#levels.add(pod.level);
    for (const { cgroupId } of allCgroups(pod)) this.#cgroups.set(cgroupId, info);
  }

  #netnsOf(pod: Pod, { netns }: Workload): KnownNetns {
    const cookie = netns?.cookie ?? this.#inPod.remembered.get(pod.uid);
    if (cookie === undefined) {
      this.isIncomplete = true;
      return { cookie, problem: undefined };
    }
    const owner = this.#netnsOwners.get(cookie)?.pod;
    if (owner !== undefined && owner.uid !== pod.uid)
      return { cookie: undefined, problem: `its network namespace is that of pod ${podName(owner)}` };
    return { cookie, problem: undefined };
  }

  /** In the mesh is only a pod for which everything has been done, and is still so. */
  #whyPending(
    pod: Pod,
    { refused }: Workload,
    { cookie, problem }: KnownNetns,
    { own, lost }: OwnedAddresses,
  ): PendingReason | undefined {
    const { acknowledged, attached, notInForce, refusals, entering, isConnected } = this.#inPod;
    if (problem !== undefined) return pendingFor('no-netns', problem);
    if (cookie === undefined) return pendingFor('no-netns', refused ?? 'its network namespace is not known yet');
    const isAcknowledged = acknowledged.get(pod.uid) === cookie;
    const [taken] = lost;
    // Who is in the mesh is not sent out of it by what an object says.
    if (taken !== undefined && !isAcknowledged)
      return pendingFor('address-held', `its address ${taken.ip} is held by pod ${podName(taken.to)}`);
    if (own.length === 0) return pendingFor('no-address', 'its network namespace has no usable address yet');
    if (entering.has(pod.uid)) return pendingFor('entering', 'its network namespace is being prepared');
    const missing = notInForce.get(pod.uid);
    if (missing !== undefined) return pendingFor('not-in-force', missing);
    if (isAcknowledged)
      return attached.has(cookie)
        ? undefined
        : pendingFor('not-attached', 'the inbound program is not attached to its network namespace');
    const refusal = refusals.get(pod.uid);
    if (refusal !== undefined) return pendingFor('refused-by-ztunnel', refusal);
    return isConnected
      ? pendingFor('not-acknowledged', 'ztunnel has not acknowledged it yet')
      : pendingFor('no-ztunnel', 'no ztunnel is connected');
  }

  /** In `node` mode nothing can wait, and the node's policy decides. */
  #waitingOf(pod: Pod, isPending: boolean): Pick<WaitingPolicy, 'flags' | 'problems'> {
    const { config, inventory, overdue } = this.#input;
    if (config.mode === 'node') return { flags: 0, problems: [] };
    const namespace = inventory.namespaces.get(pod.namespace);
    const isOverdue = overdue?.has(pod.uid) === true;
    return waitingPolicy({ pod, namespace, policy: config.policy, isPending, isOverdue });
  }

  #serve(
    pod: Pod,
    { pod: { podUid }, netns }: Workload,
    how: Pick<ServedPod, 'ips' | 'cookie' | 'capture' | 'isAcknowledged' | 'isOffered'>,
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

  /** What is not captured because an address or a namespace is missing, or what the API has otherwise. */
  #addressProblems(pod: Pod, { cookie, problem }: KnownNetns, { own, lost, absent }: OwnedAddresses): string[] {
    const taken = lost.map(
      ({ ip, to }) => `the API reports its IP as ${ip}, and the network namespace of pod ${podName(to)} holds that`,
    );
    if (this.#input.config.mode === 'inPod') {
      const gone = cookie === undefined || own.length === 0 ? [] : absent;
      return [
        ...taken,
        ...gone.map(
          (ip) => `the API reports its IP as ${ip}, and its network namespace has ${own.join(' and ')}: that counts`,
        ),
      ];
    }
    if (pod.ips.length === 0) return ['it has no IP yet: connections to it go there directly'];
    if (problem !== undefined) return [...taken, problem];
    if (cookie !== undefined) return taken;
    return [
      ...taken,
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
        noZtunnel: config.policy.noZtunnel === 'open' ? 'open' : 'closed',
        ztunnelByMark: config.ztunnel.byMark,
        probesExempt: config.probes.exempt,
        hostNetnsCookie,
        cgroupLevels: [...this.#levels].sort((a, b) => a - b),
        sampleEvery: config.sampling,
      },
    };
  }
}
