// The decision table of docs/architecture.md as a pure function: the same rows in the same order and with the same names
// as bpf/decision.h. A property test holds the two against each other through real sockets; `sluice explain` runs this one.
import { canonicalAddress, isIPv4, isLoopback } from './address.js';
import { WorkloadFlag, type CgroupInfo, type DesiredMaps, type LocalPod } from './desired.js';
import type { ReasonName as Reason, VerdictName as Verdict } from './generated/maps.js';
import { podAddresses, type PodAddresses } from './pod-addresses.js';
import { isExcludedPort, isExcludedRange } from './rules.js';

/** ztunnel's listeners (ztunnel src/config.rs). */
export const ZTUNNEL_OUTBOUND_PORT = 15001;
export const ZTUNNEL_INBOUND_PORT = 15006;
/** Its resolver, on the loopback of a pod that it serves in the pod's own namespace. */
export const ZTUNNEL_DNS_PORT = 15053;
/** RFC 1035 4.2. */
const DNS_PORT = 53;
/** ztunnel's socket mark and the bits of it that count (ztunnel src/inpod/config.rs). */
const ZTUNNEL_MARK = 0x539;
const ZTUNNEL_MARK_MASK = 0xfff;
/** In every namespace (LOOPBACK_IFINDEX of the kernel's net/flow.h). */
const LOOPBACK_INDEX = 1;

/** A connect() of a TCP socket, or of a UDP socket to a name server, as the kernel sees it. */
export interface Query {
  /** The cgroup of the calling task, then its ancestors up to the root; `level` is the depth below the root. */
  readonly cgroups: readonly { readonly id: bigint; readonly level: number }[];
  /** Cookie of the socket's network namespace. */
  readonly netnsCookie: bigint;
  /** The socket's mark; 0 if it has none. */
  readonly mark: number;
  /** The ifindex of the device that the socket is bound to (SO_BINDTODEVICE); 0 or left out if it is bound to none. */
  readonly device?: number;
  /** Whether `routed_netns` has the namespace, for the destination's family and the device that the socket is bound to. */
  readonly isRouted?: boolean;
  /** Whether `expected_cgroups` has the caller's cgroup or one above it. It counts only while the agent has not decided about the pod. */
  readonly isExpected?: boolean;
  /** Whether ztunnel's listener on 15001 is captured in the namespace. */
  readonly isListenedFor?: boolean;
  /** Whether there is a socket that holds connections; there is as long as an agent runs. */
  readonly canHold?: boolean;
  /** The destination dialled: text, IPv4, IPv6 or IPv4-mapped IPv6. */
  readonly ip: string;
  readonly port: number;
}

/** One row of the table that was tried. */
export interface RowTrace {
  readonly row: Reason;
  /** What the row asks, in words. */
  readonly question: string;
  /** What was found, in words. */
  readonly finding: string;
  readonly matched: boolean;
}

export interface Decision {
  readonly verdict: Verdict;
  readonly reason: Reason;
  /** Where the connection goes instead of the destination: only for `redirect`, `to-mesh`, `dns` and, by rewrite, `hold`. */
  readonly target?: { readonly ip: string; readonly port: number };
  /** The rows tried, in order; the last is the one that decided. */
  readonly rows: readonly RowTrace[];
}

/** Whether a namespace that Sluice captures holds an address, canonical text. */
export function isOwnAddress(maps: DesiredMaps, netnsCookie: bigint, ip: string): boolean {
  return maps.ownAddresses.get(netnsCookie)?.some((own) => canonicalAddress(own) === ip) === true;
}

/** bpf/caller.h: by cgroup, by an ancestor, by network namespace. */
export function findCaller(maps: DesiredMaps, query: Query): CgroupInfo | undefined {
  const info = callerByCgroup(maps, query);
  if (info !== undefined && inOwnNetns(maps, info, query.netnsCookie)) return info;
  const ofNetns = maps.netns.get(query.netnsCookie);
  return ofNetns?.inMesh === true ? ofNetns : elsewhere(maps, info, query.netnsCookie);
}

/**
 * Who a caller is in a namespace about which nothing is said. Only the host's is known to be no pod's: in any other one a pod with
 * its own ztunnel stays what it is, and is refused.
 */
function elsewhere(maps: DesiredMaps, info: CgroupInfo | undefined, netnsCookie: bigint): CgroupInfo | undefined {
  if (info === undefined || !info.inMesh) return info;
  const isInPod = (info.flags & WorkloadFlag.IN_POD) !== 0;
  return isInPod && netnsCookie !== maps.settings.hostNetnsCookie ? info : undefined;
}

/** They are what they are in every namespace. */
const EVERYWHERE = WorkloadFlag.ZTUNNEL | WorkloadFlag.KUBELET;

function callerByCgroup(maps: DesiredMaps, query: Query): CgroupInfo | undefined {
  const [current, ...ancestors] = query.cgroups;
  if (current === undefined) return undefined;
  const own = maps.cgroups.get(current.id);
  if (own !== undefined) return own;
  for (const { id, level } of ancestors) {
    if (level === 0 || !maps.settings.cgroupLevels.includes(level)) continue;
    const info = maps.cgroups.get(id);
    if (info !== undefined) return info;
  }
  return undefined;
}

function inOwnNetns(maps: DesiredMaps, info: CgroupInfo, netnsCookie: bigint): boolean {
  if (!info.inMesh) return (info.flags & EVERYWHERE) !== 0;
  if (info.ip === undefined) return true;
  if (isOwnAddress(maps, netnsCookie, canonicalAddress(info.ip))) return true;
  const pod = maps.localPods.get(canonicalAddress(info.ip));
  return pod === undefined || pod.netnsCookie === 0n || pod.netnsCookie === netnsCookie;
}

/** The addresses of a pod with its own ztunnel are in `ownAddresses`; only others are looked for in `localPods`. */
const knowsItself = (caller: CgroupInfo | undefined): boolean =>
  caller?.inMesh === true && (caller.flags & WorkloadFlag.IN_POD) !== 0 && (caller.flags & WorkloadFlag.KUBELET) === 0;

interface Facts {
  readonly maps: DesiredMaps;
  readonly query: Query;
  readonly caller: CgroupInfo | undefined;
  /** Canonical, un-mapped. */
  readonly destination: string;
  readonly meshedPod: LocalPod | undefined;
  /** Where ztunnel listens in the caller's network namespace; undefined if it does not listen there. */
  readonly ownAddresses: PodAddresses | undefined;
  /** Where ztunnel listens for this caller, in the family of the destination. */
  readonly ztunnel: string | undefined;
}

const hasFlag = (facts: Facts, flag: number): boolean => ((facts.caller?.flags ?? 0) & flag) !== 0;

const isZtunnel = (facts: Facts): boolean =>
  hasFlag(facts, WorkloadFlag.ZTUNNEL) ||
  (facts.maps.settings.ztunnelByMark && (facts.query.mark & ZTUNNEL_MARK_MASK) === ZTUNNEL_MARK);

const isInMesh = (facts: Facts): boolean => facts.caller?.inMesh === true;

/** Probes come from the host's network: from the kubelet or, by configuration, from any process there. */
const isProber = (facts: Facts): boolean =>
  facts.query.netnsCookie === facts.maps.settings.hostNetnsCookie &&
  (hasFlag(facts, WorkloadFlag.KUBELET) || (facts.maps.settings.probesExempt === 'host' && !isInMesh(facts)));

const prober = (facts: Facts): string =>
  facts.maps.settings.probesExempt === 'host'
    ? 'an unmeshed caller in the host network'
    : 'the kubelet in the host network';

/** A caller may be nobody's although its pod is decided about, such as in the host's network namespace. */
const isDecided = (facts: Facts): boolean =>
  facts.caller !== undefined || callerByCgroup(facts.maps, facts.query) !== undefined;

/** Its namespace is in the mesh, and nobody has decided about the pod itself. */
const isUnknown = (facts: Facts): boolean => !isDecided(facts) && facts.query.isExpected === true;

const isPending = (facts: Facts): boolean => hasFlag(facts, WorkloadFlag.PENDING);

/** A pod with its own ztunnel captures its inbound connections itself, wherever they come from. */
const isBehindNodeZtunnel = (facts: Facts): boolean =>
  facts.meshedPod !== undefined && (facts.meshedPod.flags & WorkloadFlag.IN_POD) === 0;

const isSelf = (facts: Facts): boolean =>
  (facts.caller?.ip !== undefined && canonicalAddress(facts.caller.ip) === facts.destination) ||
  (facts.meshedPod !== undefined &&
    facts.meshedPod.netnsCookie !== 0n &&
    facts.meshedPod.netnsCookie === facts.query.netnsCookie) ||
  isOwnAddress(facts.maps, facts.query.netnsCookie, facts.destination);

/** Captured by route: the pod's own routing leads to ztunnel, and the destination stays. */
const isByRoute = (facts: Facts): boolean =>
  isInMesh(facts) && hasFlag(facts, WorkloadFlag.IN_POD) && hasFlag(facts, WorkloadFlag.ROUTE);

const isRouted = (facts: Facts): boolean => isByRoute(facts) && facts.query.isRouted === true;

/** A process of the pod in a network namespace that is not the pod's, as far as the agent has said. Only the pod's own is prepared. */
const isAstray = (facts: Facts): boolean =>
  hasFlag(facts, WorkloadFlag.IN_POD) && facts.ownAddresses === undefined && !isRouted(facts);

const isUnprepared = (facts: Facts): boolean => isAstray(facts) || (isByRoute(facts) && !isRouted(facts));

const isBound = (facts: Facts): boolean => (facts.query.device ?? 0) !== 0;
const forDevice = (facts: Facts): string => (isBound(facts) ? ' for a socket that is bound to this device' : '');

/**
 * What is for the loopback leaves the pod if the socket is bound to another device.
 * @param destination canonical text
 * @param device as in {@link Query}
 */
export const staysInPod = (destination: string, device = 0): boolean =>
  isLoopback(destination) && (device === 0 || device === LOOPBACK_INDEX);

const isForPodItself = ({ destination, query }: Facts): boolean => staysInPod(destination, query.device);

/** Only a ztunnel in the pod has a resolver for it: on the pod's loopback. */
const isCapturedDns = (facts: Facts): boolean =>
  facts.query.port === DNS_PORT &&
  hasFlag(facts, WorkloadFlag.DNS_CAPTURE) &&
  hasFlag(facts, WorkloadFlag.IN_POD) &&
  !isBound(facts);

/** As with a sidecar, any server's DNS is captured: an excluded port takes it out of the mesh, an excluded range does not. */
const isExcluded = ({ caller, ...facts }: Facts): boolean =>
  caller !== undefined &&
  (isExcludedPort(facts.maps, caller, facts.query.port) ||
    (!isCapturedDns({ caller, ...facts }) && isExcludedRange(facts.maps, caller, facts.destination, facts.query.port)));

interface Row {
  readonly reason: Reason;
  readonly question: string;
  readonly matches: (facts: Facts) => boolean;
  readonly verdict: (facts: Facts) => Verdict;
  readonly finding: (facts: Facts, matched: boolean) => string;
}

const pass = (): Verdict => 'pass';
/** Only a caller in the mesh has a ztunnel of its own. */
const hasOwnZtunnel = (facts: Facts): boolean => isInMesh(facts) && hasFlag(facts, WorkloadFlag.IN_POD);
/** Whether a connection to the ztunnel of the caller's pod has a way there. */
const hasWay = (facts: Facts): boolean =>
  isByRoute(facts) ? isRouted(facts) : hasOwnZtunnel(facts) && facts.ztunnel !== undefined;
const hasNoZtunnel = (facts: Facts): boolean =>
  hasOwnZtunnel(facts) ? !hasWay(facts) || facts.query.isListenedFor !== true : facts.ztunnel === undefined;

function place(facts: Facts): string {
  if (facts.ztunnel === undefined && !isByRoute(facts)) return 'no ztunnel is known for this address family';
  if (!hasOwnZtunnel(facts)) return `ztunnel is at ${facts.ztunnel}`;
  return `ztunnel ${facts.query.isListenedFor === true ? 'listens' : 'does not listen'} in the pod's network namespace`;
}

/** What becomes of a connection of a caller in the mesh that cannot reach its ztunnel now. */
function waiting(facts: Facts): Verdict {
  if (hasFlag(facts, WorkloadFlag.REFUSE_WAITING)) return 'refuse';
  if (hasFlag(facts, WorkloadFlag.OPEN_WAITING)) return 'pass';
  return hasWay(facts) && facts.query.canHold === true ? 'hold' : 'refuse';
}

/** Why {@link waiting} says so, in words. */
function whyWaiting(facts: Facts): string {
  if (hasFlag(facts, WorkloadFlag.REFUSE_WAITING)) return 'the pod is not to wait, or has waited too long';
  if (hasFlag(facts, WorkloadFlag.OPEN_WAITING)) return 'the pod may go past the mesh meanwhile';
  if (!hasWay(facts)) return 'no connection can wait, because nothing leads to ztunnel';
  return facts.query.canHold === true
    ? 'the connection waits for ztunnel'
    : 'no connection can wait, because no agent runs';
}

const TABLE: readonly Row[] = [
  {
    reason: 'ztunnel',
    question: 'is the caller ztunnel?',
    matches: isZtunnel,
    verdict: pass,
    finding: (_facts, matched) => (matched ? 'the caller is ztunnel' : 'the caller is not ztunnel'),
  },
  {
    reason: 'probe',
    question: 'does a prober dial a meshed pod of this node?',
    matches: (facts) => isProber(facts) && facts.meshedPod !== undefined,
    verdict: pass,
    finding: (facts) =>
      isProber(facts)
        ? `the caller is ${prober(facts)}, and ${facts.destination} is ${facts.meshedPod === undefined ? 'not a' : 'a'} meshed pod of this node`
        : `the caller is not ${prober(facts)}`,
  },
  {
    reason: 'unknown',
    question: "is the caller's pod expected in the mesh, and has nobody decided about it yet?",
    matches: isUnknown,
    verdict: (facts) => (facts.maps.settings.unknown === 'open' || isForPodItself(facts) ? 'pass' : 'refuse'),
    finding: (facts, matched) =>
      matched
        ? `the caller's namespace is in the mesh, and the agent has not decided about its pod; the policy is ${facts.maps.settings.unknown}`
        : isDecided(facts)
          ? 'the agent has decided about the caller'
          : 'the caller is not in a pod that is expected in the mesh',
  },
  {
    reason: 'to-mesh',
    question: 'does a caller outside the mesh dial a meshed pod of this node?',
    matches: (facts) => !isInMesh(facts) && isBehindNodeZtunnel(facts) && facts.ztunnel !== undefined,
    verdict: () => 'to-mesh',
    finding: (facts) =>
      isInMesh(facts)
        ? 'the caller is in the mesh'
        : facts.meshedPod === undefined
          ? `${facts.destination} is not a meshed pod of this node`
          : isBehindNodeZtunnel(facts)
            ? `${facts.destination} is a meshed pod of this node; ${place(facts)}`
            : `${facts.destination} is a meshed pod of this node with a ztunnel of its own`,
  },
  {
    reason: 'not-in-mesh',
    question: 'is the caller outside the mesh?',
    matches: (facts) => !isInMesh(facts) && !isBehindNodeZtunnel(facts),
    verdict: pass,
    finding: (facts) => (isInMesh(facts) ? 'the caller is in the mesh' : 'the caller is not in the mesh'),
  },
  {
    reason: 'loopback',
    question: 'is the destination loopback?',
    matches: (facts) => isInMesh(facts) && isLoopback(facts.destination),
    verdict: (facts) => (isForPodItself(facts) ? 'pass' : 'refuse'),
    finding: (facts, matched) =>
      matched && !isForPodItself(facts)
        ? `${facts.destination} is loopback, and the socket is bound to another device`
        : `${facts.destination} is ${matched ? '' : 'not '}loopback`,
  },
  {
    reason: 'self',
    question: "is the destination one of the caller's own Pod IPs?",
    matches: (facts) => isInMesh(facts) && isSelf(facts),
    verdict: pass,
    finding: (facts, matched) => `${facts.destination} is ${matched ? '' : 'not '}an address of the caller's pod`,
  },
  {
    reason: 'other-netns',
    question: 'is the caller in a network namespace that is nested in its pod?',
    matches: (facts) => isInMesh(facts) && hasFlag(facts, WorkloadFlag.NESTED),
    verdict: pass,
    finding: (_facts, matched) =>
      `the caller's network namespace is ${matched ? '' : 'not '}known to be nested in its pod`,
  },
  {
    reason: 'excluded',
    question: 'is the destination excluded for the pod?',
    matches: (facts) => isInMesh(facts) && isExcluded(facts),
    verdict: pass,
    finding: (_facts, matched) =>
      matched
        ? "the pod's traffic rules leave it out of the mesh"
        : 'no traffic rule of the pod leaves it out of the mesh',
  },
  {
    reason: 'pending',
    question: "is the caller's pod pending?",
    matches: (facts) => isInMesh(facts) && isPending(facts),
    verdict: waiting,
    finding: (facts, matched) =>
      matched ? `the caller's pod is pending; ${whyWaiting(facts)}` : "the caller's pod is not pending",
  },
  {
    reason: 'dns',
    question: 'does the caller ask a name server, and is its DNS captured?',
    matches: (facts) => isInMesh(facts) && isCapturedDns(facts) && !isAstray(facts),
    verdict: () => 'dns',
    finding: (facts, matched) =>
      matched
        ? "port 53, to ztunnel's resolver on the pod's loopback"
        : facts.query.port === DNS_PORT
          ? isBound(facts) && hasFlag(facts, WorkloadFlag.DNS_CAPTURE)
            ? "the socket is bound to a device, and cannot reach the resolver on the pod's loopback"
            : "the pod's DNS is not captured here"
          : `port ${facts.query.port} is not that of a name server`,
  },
  {
    reason: 'unprepared',
    question: "is the caller's network namespace not prepared?",
    matches: (facts) => isInMesh(facts) && isUnprepared(facts),
    verdict: () => 'refuse',
    finding: (facts) =>
      isAstray(facts)
        ? "the caller's network namespace is not known to be its pod's, nor to be nested in it"
        : !isByRoute(facts)
          ? 'the pod is not captured by route'
          : isRouted(facts)
            ? `the rules and routes of the namespace lead to ztunnel${forDevice(facts)}`
            : `the agent has not found rules and routes in the namespace that lead to ztunnel${forDevice(facts)}`,
  },
  {
    reason: 'no-ztunnel',
    question: 'is no ztunnel known?',
    matches: hasNoZtunnel,
    verdict: (facts) =>
      hasOwnZtunnel(facts) ? waiting(facts) : facts.maps.settings.noZtunnel === 'open' ? 'pass' : 'refuse',
    finding: (facts) =>
      !hasNoZtunnel(facts)
        ? place(facts)
        : hasOwnZtunnel(facts)
          ? `${place(facts)}; ${whyWaiting(facts)}`
          : `${place(facts)}; the policy is ${facts.maps.settings.noZtunnel}`,
  },
  {
    reason: 'redirect',
    question: 'otherwise',
    matches: () => true,
    verdict: (facts) => (isByRoute(facts) ? 'route' : 'redirect'),
    finding: (facts) =>
      isByRoute(facts)
        ? `the socket is marked, and the pod's routes lead it to ztunnel; the destination stays ${facts.destination}`
        : `to ztunnel at ${facts.ztunnel}`,
  },
];

/** The verdict on a connect(), given what is in the maps, with every row that was tried. */
export function decide(maps: DesiredMaps, query: Query): Decision {
  const destination = canonicalAddress(query.ip);
  const caller = findCaller(maps, query);
  const ownAddresses = podAddresses(maps.localPods).get(query.netnsCookie);
  const facts: Facts = {
    maps,
    query,
    caller,
    destination,
    meshedPod: knowsItself(caller) ? undefined : maps.localPods.get(destination),
    ownAddresses,
    ztunnel: ztunnelFor(maps, caller, ownAddresses, isIPv4(destination)),
  };
  const rows: RowTrace[] = [];
  for (const row of TABLE) {
    const matched = row.matches(facts);
    rows.push({ row: row.reason, question: row.question, finding: row.finding(facts, matched), matched });
    if (!matched) continue;
    const verdict = row.verdict(facts);
    const target = targetOf(verdict, facts);
    return { verdict, reason: row.reason, rows, ...(target === undefined ? {} : { target }) };
  }
  throw new Error('the last row of the decision table matches everything');
}

function ztunnelFor(
  { settings }: DesiredMaps,
  caller: CgroupInfo | undefined,
  own: PodAddresses | undefined,
  v4: boolean,
): string | undefined {
  if (caller?.inMesh === true && (caller.flags & WorkloadFlag.IN_POD) !== 0) return v4 ? own?.ipv4 : own?.ipv6;
  return v4 ? settings.ztunnelIPv4 : settings.ztunnelIPv6;
}

function targetOf(verdict: Verdict, facts: Facts): Decision['target'] {
  const { destination, ztunnel } = facts;
  if (verdict === 'dns') return { ip: isIPv4(destination) ? '127.0.0.1' : '::1', port: ZTUNNEL_DNS_PORT };
  if (ztunnel === undefined) return undefined;
  if (verdict === 'redirect' || (verdict === 'hold' && !isByRoute(facts)))
    return { ip: ztunnel, port: ZTUNNEL_OUTBOUND_PORT };
  if (verdict === 'to-mesh') return { ip: ztunnel, port: ZTUNNEL_INBOUND_PORT };
  return undefined;
}
