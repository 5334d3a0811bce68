// Assigns what the kernel refused, entries and attachments, to the pods that it belongs to.
import { ownerOfEntry, type ApplyFailure, type AttachFailure, type DesiredMaps } from '@sluice/datapath';

export interface FailureReport {
  /** Sentences for the status, by workload id (the pod-level cgroup id). */
  readonly byWorkload: ReadonlyMap<bigint, readonly string[]>;
  /** Ids of the pods whose namespace's entry is not as it should be. */
  readonly withoutNetns: ReadonlySet<bigint>;
  /** Failures that belong to no single pod. */
  readonly others: readonly string[];
  /** A short name for each failure, for counting: `map-full`, or the errno. */
  readonly kinds: readonly string[];
}

/** Pure. One sentence for each map and workload, however many entries failed. */
export function reportFailures(failures: readonly ApplyFailure[], desired: DesiredMaps): FailureReport {
  const byWorkload = new Map<bigint, string[]>();
  const withoutNetns = new Set<bigint>();
  const others: string[] = [];
  const kinds: string[] = [];
  for (const failure of failures) {
    const isFull = failure.error.code === 'E2BIG' || failure.error.code === 'ENOSPC';
    kinds.push(isFull ? 'map-full' : failure.error.code);
    const text = `not enrolled as it should be: ${failure.error.message}`;
    const workload = ownerOfEntry(failure, desired);
    const sentences = workload === undefined ? others : (byWorkload.get(workload) ?? []);
    if (!sentences.includes(text)) sentences.push(text);
    if (workload === undefined) continue;
    byWorkload.set(workload, sentences);
    if (failure.map === 'netns_info_map') withoutNetns.add(workload);
  }
  return { byWorkload, withoutNetns, others, kinds };
}

/** Sentences for the status, by the id of the cgroup: those of programs that are for one pod alone. Pure. */
export function reportAttaching(failures: readonly AttachFailure[]): ReadonlyMap<bigint, readonly string[]> {
  const byWorkload = new Map<bigint, readonly string[]>();
  for (const { cgroupId, error } of failures)
    byWorkload.set(cgroupId, [...(byWorkload.get(cgroupId) ?? []), `not captured as it should be: ${error.message}`]);
  return byWorkload;
}
