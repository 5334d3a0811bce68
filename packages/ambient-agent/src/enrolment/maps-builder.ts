// Collects what the maps ought to hold, pod by pod, and which pods ztunnel is to serve.
import {
  DEEPEST_LEVEL,
  WorkloadFlag,
  type CgroupInfo,
  type DesiredMaps,
  type LocalPod,
  type TrafficRule,
} from '@sluice/datapath';
import { podName, type Pod } from '../inventory/model.js';
import type { addressOwners, OwnedAddresses } from './addresses.js';
import { ambientAnnotations } from './annotations.js';
import { captureOf, isRoutable, nothingSeen, type Capture, type CaptureFacts } from './capture.js';
import type { DecidedPod } from './decided-pods.js';
import type { EnrolmentInput, KubeletCgroup } from './enrolment.js';
import { allCgroups, type Workload } from './node-pods.js';
import { ownAddresses } from './own-addresses.js';
import { noneServed, type InPodFacts, type ServedPod } from './served.js';
import type { PendingCode, WorkloadStatus } from './status.js';
import { podTraffic } from './traffic-rules.js';
import { WAITING_FLAGS, waitingPolicy, type WaitingPolicy } from './waiting.js';

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

/** Why a pod is pending. */
export interface PendingReason {
  readonly code: PendingCode;
  readonly because: string;
}

export const pendingFor = (code: PendingCode, because: string): PendingReason => ({ code, because });

/** Its containers have entries of their own, but a later one is found only by an ancestor that lookups reach. */
function depthProblems({ pod: { level } }: Workload): string[] {
  if (level <= DEEPEST_LEVEL) return [];
  return [
    `its cgroup lies ${level} levels deep and lookups reach ${DEEPEST_LEVEL}: a container that starts later is in the mesh only from the next pass on`,
  ];
}

/** A pod can make any number of namespaces, and the map that holds those of all pods must not be filled by one. */
const MOST_NESTED = 16;

function nestedProblems({ nested = [] }: Workload): string[] {
  if (nested.length <= MOST_NESTED) return [];
  return [
    `there are ${nested.length} network namespaces inside of it, and room for ${MOST_NESTED}: what is dialled in the others is refused; make fewer of them`,
  ];
}

/**
 * A pod that may write below its cgroup can make any number of cgroups, and the map that holds those of all pods must not be filled by
 * one. In the others its processes are found by the pod's own cgroup, like those in cgroups that are made after the pass.
 */
const MOST_CGROUPS = 64;

/** Whether nothing of it captures yet what comes in. */
const isReachedAsBefore = (cookie: bigint | undefined, pending: PendingReason | undefined): boolean =>
  cookie === undefined || pending?.code === 'entering' || pending?.code === 'not-attached';

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

export class MapsBuilder {
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
        ...(isInPod ? nestedProblems(workload) : []),
        ...(own.problem === undefined ? [] : [own.problem]),
        ...this.#addressProblems(pod, netns, owned),
      ],
      pending,
      capture,
      inbound: isInPod
        ? isReachedAsBefore(netns.cookie, pending)
          ? 'no'
          : ambient.bypassInbound
            ? 'bypassed'
            : 'yes'
        : undefined,
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
    for (const { cgroupId } of allCgroups(pod).slice(0, MOST_CGROUPS)) this.#cgroups.set(cgroupId, info);
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
    // What else its namespace holds is its own, whatever its object says.
    if (taken !== undefined && own.length === 0)
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
        unknown: config.policy.unknown,
        ztunnelByMark: config.ztunnel.byMark,
        probesExempt: config.probes.exempt,
        hostNetnsCookie,
        cgroupLevels: [...this.#levels].sort((a, b) => a - b),
        sampleEvery: config.sampling,
      },
    };
  }
}
