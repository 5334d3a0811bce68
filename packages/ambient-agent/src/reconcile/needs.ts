// Who needs the programs, for the plan where they are attached.
import { WorkloadFlag, type Needs, type Place } from '@sluice/datapath';
import type { PodCgroup } from '@sluice/cgroup-resolver';
import type { AgentConfig } from '../config/config.js';
import type { Enrolment } from '../enrolment/enrolment.js';
import { WAITING_FLAGS } from '../enrolment/waiting.js';
import type { Ztunnels } from '../enrolment/ztunnel.js';
import type { NodeTruth } from '../node/node-view.js';

const placeOf = ({ cgroupPath, cgroupId }: Pick<PodCgroup, 'cgroupPath' | 'cgroupId'>): Place => ({
  path: cgroupPath,
  id: cgroupId,
});

/**
 * Pure.
 * @param waiting UIDs, as cgroupfs names them, of the pods that cannot reach ztunnel now
 */
export function needsOf(
  { mode, probes, ztunnel }: Pick<AgentConfig, 'mode' | 'probes' | 'ztunnel'>,
  { root, podsParents, kubelets, workloads }: Pick<NodeTruth, 'root' | 'podsParents' | 'kubelets' | 'workloads'>,
  ztunnels: Pick<Ztunnels, 'pods'>,
  { served, desired }: Pick<Enrolment, 'served' | 'desired'>,
  waiting: readonly string[] = [],
): Needs {
  const cgroupsOf = (uids: readonly string[]): Place[] =>
    uids.flatMap((uid) => {
      const workload = workloads.get(uid);
      return workload === undefined ? [] : [placeOf(workload.pod)];
    });
  return {
    mode,
    root,
    podsParents,
    kubelets: kubelets.map(placeOf),
    ztunnels: cgroupsOf(ztunnels.pods.map(({ uid }) => uid)),
    rewritten: cgroupsOf(served.filter(({ capture }) => capture.by === 'rewrite').map(({ podUid }) => podUid)),
    held: cgroupsOf(waiting).filter(({ id }) => ((desired.cgroups.get(id)?.flags ?? 0) & WAITING_FLAGS) === 0),
    // Only writing shows whose entries there is no room for.
    refused: [],
    capturesDns: [...desired.cgroups.values()].some(({ flags }) => (flags & WorkloadFlag.DNS_CAPTURE) !== 0),
    probesFromHost: probes.exempt === 'host',
    ztunnelByMark: ztunnel.byMark,
  };
}

/** In milliseconds. A connection that was made before ztunnel accepts it and asks for its destination, which takes longer than a pass. */
const LONGER_MS = 10_000;

/**
 * Keeps a need for a while after its end: connections that were made just before still need the programs that carry and answer
 * their original destinations.
 */
export class LastingNeeds {
  readonly #rewritten = new Map<bigint, { readonly place: Place; readonly untilMs: number }>();
  #dnsUntilMs = -Infinity;

  /**
   * @param present ids of the pod-level cgroups that are there
   * @param nowMs of a clock that only moves forward
   */
  extend(needs: Needs, present: ReadonlySet<bigint>, nowMs: number): Needs {
    const untilMs = nowMs + LONGER_MS;
    for (const place of needs.rewritten) this.#rewritten.set(place.id, { place, untilMs });
    for (const [id, { untilMs: end }] of this.#rewritten)
      if (end < nowMs || !present.has(id)) this.#rewritten.delete(id);
    if (needs.capturesDns) this.#dnsUntilMs = untilMs;
    return {
      ...needs,
      rewritten: [...this.#rewritten.values()].map(({ place }) => place),
      capturesDns: nowMs <= this.#dnsUntilMs,
    };
  }
}
