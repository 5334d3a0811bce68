// What the programs have counted since they were first loaded: decisions by verdict and reason, and events.
import type { BpfMap } from '@sluice/libbpf';
import { EVENTS, REASONS, VERDICTS, type DatapathEvent } from './names.js';
import type { Reason, Verdict } from './model.js';

export interface DecisionCount {
  readonly verdict: Verdict;
  readonly reason: Reason;
  readonly count: bigint;
}

export interface Counters {
  /** Only what was counted at least once. */
  readonly decisions: readonly DecisionCount[];
  readonly events: Readonly<Record<DatapathEvent, bigint>>;
}

export function readCounters(maps: { readonly counters: BpfMap; readonly events: BpfMap }): Counters {
  const decisions = REASONS.flatMap((reason, row) =>
    VERDICTS.map((verdict, column) => ({
      verdict,
      reason,
      count: sumOverCpus(maps.counters, row * VERDICTS.length + column),
    })),
  ).filter(({ count }) => count > 0n);
  const events = Object.fromEntries(EVENTS.map((event, index) => [event, sumOverCpus(maps.events, index)]));
  return { decisions, events: events as Record<DatapathEvent, bigint> };
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
