// What the agent says of a pod: for `sluice status`, the log and the metrics. Plain JSON; 64-bit numbers are decimal text.

export type WorkloadState =
  /** Its connections go through the mesh. */
  | 'in'
  /** Wanted in the mesh and held (or let through, by policy) until ztunnel serves it; `inPod` mode only. */
  | 'pending'
  | 'out'
  /** Wanted in the mesh, but not there to be enrolled. */
  | 'waiting'
  /** A pod's cgroup of which the inventory knows no pod. */
  | 'unknown';

export interface CgroupStatus {
  readonly path: string;
  readonly id: string;
}

export interface WorkloadStatus {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly ips: readonly string[];
  /** The pod-level cgroup first. */
  readonly cgroups: readonly CgroupStatus[];
  readonly netnsCookie: string | undefined;
  readonly role: 'workload' | 'ztunnel';
  readonly state: WorkloadState;
  /** In `inPod` mode, whether what comes in goes to ztunnel: yes, no (not yet), or bypassed by an annotation. */
  readonly inbound?: 'yes' | 'no' | 'bypassed';
  /** `in mesh: namespace label istio.io/dataplane-mode=ambient`, `out: hostNetwork`, `waiting: ...` */
  readonly reason: string;
  readonly problems: readonly string[];
}

/** A status with the time at which state or reason last changed, ISO 8601. */
export type DatedStatus = WorkloadStatus & { readonly since: string };

/** Keeps the date of what did not change. Pure. */
export function dateStatuses(
  statuses: readonly WorkloadStatus[],
  previous: readonly DatedStatus[],
  now: Date,
): DatedStatus[] {
  const before = new Map(previous.map((status) => [status.uid, status]));
  return statuses.map((status) => {
    const was = before.get(status.uid);
    const isSame = was !== undefined && was.state === status.state && was.reason === status.reason;
    return { ...status, since: isSame ? was.since : now.toISOString() };
  });
}
