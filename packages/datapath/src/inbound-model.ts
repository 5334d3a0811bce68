// The inbound table of docs/architecture.md as a pure function: the same rows in the same order and with the same names as
// bpf/inbound.h. A property test holds the two against each other through real sockets.
import { canonicalAddress, isLoopback } from './address.js';
import { WorkloadFlag, type CgroupInfo, type DesiredMaps } from './desired.js';
import type { InboundReasonName as InboundReason, InboundVerdictName as InboundVerdict } from './generated/maps.js';
import { ZTUNNEL_INBOUND_PORT, ZTUNNEL_OUTBOUND_PORT, isOwnAddress } from './model.js';
import { isExcludedInbound } from './rules.js';

/** ztunnel's listener for HBONE, which peers dial themselves (ztunnel src/config.rs). */
export const ZTUNNEL_HBONE_PORT = 15008;

/** A new TCP connection that arrives in a network namespace to which the inbound program is attached. */
export interface InboundQuery {
  /** Cookie of that namespace. */
  readonly netnsCookie: bigint;
  /** Where it arrives: text, IPv4 or IPv6. */
  readonly ip: string;
  readonly port: number;
  /** The client's address. */
  readonly clientIp: string;
  /** Whether it came over a route to the loopback, as what the pod dials does when it is captured by route. */
  readonly isOnLoopback?: boolean;
  /** Whether `connect` sent it here, to ztunnel's outbound listener: its 4-tuple is in `origin_handoff`. */
  readonly redirected?: boolean;
  /** Whether it is known to be a probe or a dial of ztunnel's: its 4-tuple is in `exempt_tuples`. */
  readonly exempt?: boolean;
  /** The ports of ztunnel's listeners that are captured there; both if left out. */
  readonly listeners?: readonly number[];
  /** Whether there is a socket that holds connections; there is as long as an agent runs. */
  readonly canHold?: boolean;
}

/** One row of the table that was tried. */
export interface InboundRowTrace {
  readonly row: InboundReason;
  /** What the row asks, in words. */
  readonly question: string;
  /** What was found, in words. */
  readonly finding: string;
  readonly matched: boolean;
}

export interface InboundDecision {
  readonly verdict: InboundVerdict;
  readonly reason: InboundReason;
  /** The port of ztunnel's listener that accepts; only for `steer`. */
  readonly listener?: number;
  /** The rows tried, in order; the last is the one that decided. */
  readonly rows: readonly InboundRowTrace[];
}

/** A namespace without an entry counts as that of a pending pod: the pod's entry could not be written. */
const WITHOUT_ENTRY: CgroupInfo = {
  id: 0n,
  inMesh: true,
  ip: undefined,
  flags: WorkloadFlag.IN_POD | WorkloadFlag.PENDING,
  detectedFlags: 0,
};

interface Facts {
  readonly maps: DesiredMaps;
  readonly query: InboundQuery;
  readonly pod: CgroupInfo;
  /** Canonical, un-mapped. */
  readonly ip: string;
  readonly clientIp: string;
}

const hasFlag = (facts: Facts, flag: number): boolean => (facts.pod.flags & flag) !== 0;

const hasListener = (facts: Facts, port: number): boolean =>
  (facts.query.listeners ?? [ZTUNNEL_OUTBOUND_PORT, ZTUNNEL_INBOUND_PORT]).includes(port);

const isZtunnelPort = (facts: Facts): boolean =>
  facts.query.port === ZTUNNEL_OUTBOUND_PORT || facts.query.port === ZTUNNEL_INBOUND_PORT;

const isCaptured = (facts: Facts): boolean => hasFlag(facts, WorkloadFlag.IN_POD);

/** Delivered by the pod's own routing although it is meant for somewhere else. */
const isOutbound = (facts: Facts): boolean => {
  const { maps, query, ip, clientIp } = facts;
  const isFromPod = isOwnAddress(maps, query.netnsCookie, clientIp);
  return (
    (isFromPod || (query.isOnLoopback === true && isCaptured(facts))) &&
    !isOwnAddress(maps, query.netnsCookie, ip) &&
    ip !== clientIp &&
    query.exempt !== true
  );
};

interface Row {
  readonly reason: InboundReason;
  readonly question: string;
  readonly matches: (facts: Facts) => boolean;
  readonly verdict: (facts: Facts) => InboundVerdict;
  readonly finding: (facts: Facts, matched: boolean) => string;
}

const pass = (): InboundVerdict => 'pass';
/** Past the capture, but not to ztunnel's own listeners, because what they accept counts as the pod's own or as captured. */
const past = (facts: Facts): InboundVerdict => (isZtunnelPort(facts) ? 'refuse' : 'pass');

const hold = (facts: Facts): InboundVerdict => (facts.query.canHold === true ? 'hold' : 'refuse');
/** For a connection that ztunnel cannot accept now. */
function waiting(facts: Facts): InboundVerdict {
  if (hasFlag(facts, WorkloadFlag.REFUSE_WAITING)) return 'refuse';
  return hasFlag(facts, WorkloadFlag.OPEN_WAITING) ? past(facts) : hold(facts);
}
/** What the pod itself has dialled is not let through, because `connect` has sent it to ztunnel already. */
function outboundVerdict(facts: Facts): InboundVerdict {
  if (hasListener(facts, ZTUNNEL_OUTBOUND_PORT)) return 'steer';
  return hasFlag(facts, WorkloadFlag.REFUSE_WAITING) ? 'refuse' : hold(facts);
}

/** Why {@link waiting} says so, in words. */
function whyWaiting(facts: Facts): string {
  if (hasFlag(facts, WorkloadFlag.REFUSE_WAITING)) return 'the pod is not to wait, or has waited too long';
  if (hasFlag(facts, WorkloadFlag.OPEN_WAITING)) return 'the pod may be reached past the mesh meanwhile';
  return facts.query.canHold === true
    ? 'the connection waits for ztunnel'
    : 'no connection can wait, because no agent runs';
}

const listening = (facts: Facts, port: number): string =>
  hasListener(facts, port) ? `ztunnel listens on ${port}` : `ztunnel does not listen on ${port}`;

const TABLE: readonly Row[] = [
  {
    reason: 'loopback',
    question: 'is the destination loopback?',
    matches: (facts) => isLoopback(facts.ip),
    verdict: pass,
    finding: (facts, matched) => `${facts.ip} is ${matched ? '' : 'not '}loopback`,
  },
  {
    reason: 'outbound',
    question: "is it a connection that the pod itself dials, and that the pod's routes lead to ztunnel?",
    matches: isOutbound,
    verdict: outboundVerdict,
    finding: (facts, matched) =>
      matched
        ? `the pod itself dials ${facts.ip}; ${listening(facts, ZTUNNEL_OUTBOUND_PORT)}`
        : 'it comes from outside, or is a call of the pod to itself, a probe or a dial of its ztunnel',
  },
  {
    reason: 'not-in-mesh',
    question: 'does the namespace belong to no pod with its own ztunnel?',
    matches: (facts) => !isCaptured(facts),
    verdict: pass,
    finding: (_facts, matched) => (matched ? 'it is not captured' : 'it is captured'),
  },
  {
    reason: 'outbound-listener',
    question: "is the destination ztunnel's outbound port?",
    matches: ({ query }) => query.port === ZTUNNEL_OUTBOUND_PORT,
    verdict: (facts) => (facts.query.redirected === true ? outboundVerdict(facts) : 'refuse'),
    finding: (facts, matched) =>
      !matched
        ? `the port is ${facts.query.port}`
        : facts.query.redirected === true
          ? `the pod itself was redirected there; ${listening(facts, ZTUNNEL_OUTBOUND_PORT)}`
          : 'nobody but the pod itself may reach it',
  },
  {
    reason: 'hbone',
    question: "is the destination ztunnel's HBONE port?",
    matches: ({ query }) => query.port === ZTUNNEL_HBONE_PORT,
    // ztunnel opens this listener before the one that is asked for.
    verdict: (facts) => (hasListener(facts, ZTUNNEL_INBOUND_PORT) ? 'pass' : waiting(facts)),
    finding: (facts, matched) =>
      !matched
        ? `the port is ${facts.query.port}`
        : hasListener(facts, ZTUNNEL_INBOUND_PORT)
          ? listening(facts, ZTUNNEL_INBOUND_PORT)
          : `${listening(facts, ZTUNNEL_INBOUND_PORT)}; ${whyWaiting(facts)}`,
  },
  {
    reason: 'exempt',
    question: "is it a probe, or a dial of the pod's ztunnel?",
    matches: ({ query }) => query.exempt === true,
    verdict: pass,
    finding: (_facts, matched) => (matched ? 'it is exempt' : 'it is not exempt'),
  },
  {
    reason: 'self',
    question: 'is it a call of the pod to itself?',
    matches: (facts) =>
      facts.ip === facts.clientIp || isOwnAddress(facts.maps, facts.query.netnsCookie, facts.clientIp),
    verdict: pass,
    finding: (facts) => `from ${facts.clientIp} to ${facts.ip}`,
  },
  {
    reason: 'pending',
    question: 'is the pod pending?',
    matches: (facts) => hasFlag(facts, WorkloadFlag.PENDING),
    verdict: waiting,
    finding: (facts, matched) => (matched ? `the pod is pending; ${whyWaiting(facts)}` : 'the pod is not pending'),
  },
  {
    reason: 'bypass',
    question: 'does the pod bypass the capture?',
    matches: (facts) => hasFlag(facts, WorkloadFlag.BYPASS_INBOUND),
    verdict: past,
    finding: (facts, matched) =>
      matched
        ? `it bypasses the capture; ${facts.query.port} is ${isZtunnelPort(facts) ? '' : 'not '}one of ztunnel's own ports`
        : 'it does not bypass the capture',
  },
  {
    reason: 'excluded',
    question: 'is the port excluded for the pod?',
    matches: ({ maps, pod, query }) => isExcludedInbound(maps, pod, query.port),
    verdict: past,
    finding: ({ query }, matched) => `port ${query.port} is ${matched ? '' : 'not '}excluded`,
  },
  {
    reason: 'steered',
    question: 'does ztunnel listen for the pod?',
    matches: (facts) => hasListener(facts, ZTUNNEL_INBOUND_PORT),
    verdict: () => 'steer',
    finding: (facts) => listening(facts, ZTUNNEL_INBOUND_PORT),
  },
  {
    reason: 'no-listener',
    question: 'otherwise',
    matches: () => true,
    verdict: waiting,
    finding: (facts) => `${listening(facts, ZTUNNEL_INBOUND_PORT)}; ${whyWaiting(facts)}`,
  },
];

/** The verdict on a new connection in a pod's network namespace, given what is in the maps, with every row that was tried. */
export function decideInbound(maps: DesiredMaps, query: InboundQuery): InboundDecision {
  const facts: Facts = {
    maps,
    query,
    pod: maps.netns.get(query.netnsCookie) ?? WITHOUT_ENTRY,
    ip: canonicalAddress(query.ip),
    clientIp: canonicalAddress(query.clientIp),
  };
  const rows: InboundRowTrace[] = [];
  for (const row of TABLE) {
    const matched = row.matches(facts);
    rows.push({ row: row.reason, question: row.question, finding: row.finding(facts, matched), matched });
    if (!matched) continue;
    const verdict = row.verdict(facts);
    const isOut = row.reason === 'outbound' || row.reason === 'outbound-listener';
    const listener = isOut ? ZTUNNEL_OUTBOUND_PORT : ZTUNNEL_INBOUND_PORT;
    return { verdict, reason: row.reason, rows, ...(verdict === 'steer' ? { listener } : {}) };
  }
  throw new Error('the last row of the inbound table matches everything');
}
