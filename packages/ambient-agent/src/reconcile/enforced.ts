// What is not in force for a pod after a pass, from what was done and from what the kernel has, for the state of the pod.
import type { ApplyFailure, AttachFailure, AttachPlan, DesiredMaps, MissingPart, Place } from '@sluice/datapath';
import { reportAttaching, reportFailures } from './failures.js';
import { missingOf } from './missing.js';

/** A pod that is wanted in the mesh and has a cgroup. */
export interface EnforcedPod {
  readonly uid: string;
  /** The pod-level cgroup. */
  readonly place: Place;
  readonly netnsCookie: bigint | undefined;
}

/** What the newest pass has found. */
export interface Findings {
  readonly desired: DesiredMaps;
  readonly plan: AttachPlan;
  /** Entries that could not be written. */
  readonly unwritten: readonly ApplyFailure[];
  /** Programs that could not be attached. */
  readonly unattached: readonly AttachFailure[];
  /** UIDs of the pods whose inbound connections are not captured. */
  readonly withoutInbound: ReadonlySet<string>;
  /** Why a step in a pod's network namespace failed, by UID. */
  readonly problems: ReadonlyMap<string, readonly string[]>;
  /** What somebody else has taken away and is not back. */
  readonly missing: readonly MissingPart[];
}

const NOT_BACK = 'the agent puts it back, and its log says what keeps it from that';

/**
 * By UID, only pods for which something is not in force: a sentence for each thing, with the object, the cause and the remedy. One pod's
 * failure is no other's. Pure.
 */
export function enforced(
  pods: readonly EnforcedPod[],
  { desired, plan, unwritten, unattached, withoutInbound, problems, missing }: Findings,
): ReadonlyMap<string, readonly string[]> {
  const byWorkload = reportFailures(unwritten, desired).byWorkload;
  const byCgroup = reportAttaching(unattached);
  return new Map(
    pods.flatMap((pod) => {
      const { uid, place } = pod;
      const sentences = [
        ...(byWorkload.get(place.id) ?? []),
        ...(byCgroup.get(place.id) ?? []),
        ...missingOf(missing, pod, plan).map(({ what }) => `${what}: somebody has taken it away; ${NOT_BACK}`),
        ...(withoutInbound.has(uid) ? (problems.get(uid) ?? ['the inbound program is not attached yet']) : []),
      ];
      return sentences.length === 0 ? [] : [[uid, sentences] as const];
    }),
  );
}
