// What the programs have counted since they were first loaded: decisions by verdict and reason, and events.
import type { BpfMap } from '@sluice/libbpf';
import {
  eventNames,
  inboundReasonNames,
  inboundVerdictNames,
  maps,
  reasonNames,
  verdictNames,
  type EventName,
  type InboundReasonName,
  type InboundVerdictName,
  type ReasonName,
  type VerdictName,
} from './generated/maps.js';
import type { MapName, Maps } from './layout.js';
import { recordOf } from './records.js';

export interface DecisionCount {
  readonly verdict: VerdictName;
  readonly reason: ReasonName;
  readonly count: bigint;
}

/** A count of new connections in the network namespaces of pods with their own ztunnel. */
export interface InboundCount {
  readonly verdict: InboundVerdictName;
  readonly reason: InboundReasonName;
  readonly count: bigint;
}

export interface Counters {
  /** Only what was counted at least once. */
  readonly decisions: readonly DecisionCount[];
  /** Only what was counted at least once. */
  readonly inbound: readonly InboundCount[];
  readonly events: Readonly<Record<EventName, bigint>>;
}

/** The maps that are read. */
export const COUNTER_MAPS = ['counters', 'inbound_counters', 'events'] as const satisfies readonly MapName[];
export type CounterMaps = Maps<(typeof COUNTER_MAPS)[number]>;

export function readCounters(counterMaps: CounterMaps): Counters {
  const decisions = byReason(counterMaps.counters, reasonNames, verdictNames);
  const inbound = byReason(counterMaps.inbound_counters, inboundReasonNames, inboundVerdictNames);
  const events = recordOf(eventNames, (_event, index) => sumOverCpus(counterMaps.events, index));
  return { decisions, inbound, events };
}

/** Index: reason * verdicts + verdict. */
function byReason<R, V>(
  map: BpfMap,
  reasons: readonly R[],
  verdicts: readonly V[],
): { verdict: V; reason: R; count: bigint }[] {
  return reasons
    .flatMap((reason, row) =>
      verdicts.map((verdict, column) => ({
        verdict,
        reason,
        count: sumOverCpus(map, row * verdicts.length + column),
      })),
    )
    .filter(({ count }) => count > 0n);
}

function sumOverCpus(map: BpfMap, index: number): bigint {
  const values = map.typed(maps.counters).getPerCpu(index) ?? [];
  return values.reduce((sum, value) => sum + value, 0n);
}
