// What the programs have counted since they were first loaded: decisions by verdict and reason, and events.
import type { BpfMap } from '@sluice/libbpf';
import { INBOUND_REASONS, INBOUND_VERDICTS, type InboundReason, type InboundVerdict } from './inbound-model.js';
import { EVENTS, REASONS, VERDICTS, type DatapathEvent } from './names.js';
import type { Reason, Verdict } from './model.js';

export interface DecisionCount {
  readonly verdict: Verdict;
  readonly reason: Reason;
  readonly count: bigint;
}

/** Of new connections in the network namespaces of pods with their own ztunnel. */
export interface InboundCount {
  readonly verdict: InboundVerdict;
  readonly reason: InboundReason;
  readonly count: bigint;
}

export interface Counters {
  /** Only what was counted at least once. */
  readonly decisions: readonly DecisionCount[];
  /** Only what was counted at least once. */
  readonly inbound: readonly InboundCount[];
  readonly events: Readonly<Record<DatapathEvent, bigint>>;
}

/** The maps that are read. */
export type CounterMaps = Readonly<Record<'counters' | 'inbound_counters' | 'events', BpfMap>>;

export function readCounters(maps: CounterMaps): Counters {
  const decisions = byReason(maps.counters, REASONS, VERDICTS);
  const inbound = byReason(maps.inbound_counters, INBOUND_REASONS, INBOUND_VERDICTS);
  const events = Object.fromEntries(EVENTS.map((event, index) => [event, sumOverCpus(maps.events, index)]));
  return { decisions, inbound, events: events as Record<DatapathEvent, bigint> };
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

/** A per-CPU value is one u64 for each possible CPU. */
function sumOverCpus(map: BpfMap, index: number): bigint {
  const key = Buffer.alloc(4);
  key.writeUInt32LE(index);
  const values = map.lookup(key);
  if (values === undefined) return 0n;
  let sum = 0n;
  for (let offset = 0; offset + 8 <= values.length; offset += 8) sum += values.readBigUInt64LE(offset);
  return sum;
}
