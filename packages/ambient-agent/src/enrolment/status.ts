// What the agent says of a pod: for `sluice status`, the log and the metrics. Plain JSON; 64-bit numbers are decimal text.

import * as Schema from 'effect/Schema';
import * as SchemaGetter from 'effect/SchemaGetter';
import { Decimal } from '../run-directory/kept-file.js';
import { Capture } from './capture.js';
import { OUT_CODES } from './membership.js';

export const WorkloadState = Schema.Literals([
  /** The cgroup of a pod that the inventory does not know. */
  'unknown',
  /** Wanted in the mesh, and something is missing. A pod with a cgroup is held meanwhile, or let through, by policy. */
  'pending',
  /** The decision table decides about its connections. */
  'in',
  /** Not wanted in the mesh. */
  'out',
]);
export type WorkloadState = typeof WorkloadState.Type;

/** Why a pod is in its state, in one word each: a label of metrics. Those of `out` come from the membership. */
export const PENDING_CODES = [
  /** The kubelet has not made its cgroup on this node, or has removed it. */
  'no-cgroup',
  /** Whether it is wanted is not known yet. */
  'undecided',
  /** No process of it is in a network namespace that is verified to be the pod's. */
  'no-netns',
  'no-address',
  /** Another pod's network namespace holds the address that the API reports, and it has no other. */
  'address-held',
  /** It was not in the mesh, and its network namespace is being prepared; it connects as before meanwhile. */
  'entering',
  /** The inbound program is not attached to its network namespace. */
  'not-attached',
  /** The configured capacities are used up. */
  'no-room',
  /** Something of it is not in force in the kernel: an entry, a program. */
  'not-in-force',
  'no-ztunnel',
  'not-acknowledged',
  'refused-by-ztunnel',
] as const;
export const StatusCode = Schema.Literals([
  ...OUT_CODES,
  ...PENDING_CODES,
  /** In the mesh: an enablement selector matches. */
  'selected',
  /** In the mesh, and not any more when its peers have heard of it. */
  'leaving',
  /** The inventory does not have it. */
  'no-object',
]);
export type StatusCode = typeof StatusCode.Type;
export type PendingCode = (typeof PENDING_CODES)[number];

/** State files of earlier versions call a pending pod that has no cgroup `waiting`. */
const KeptState = Schema.Literals([...WorkloadState.literals, 'waiting']).pipe(
  Schema.decodeTo(WorkloadState, {
    decode: SchemaGetter.transform((state) => (state === 'waiting' ? 'pending' : state)),
    encode: SchemaGetter.passthroughSubtype(),
  }),
);

export const CgroupStatus = Schema.Struct({ path: Schema.String, id: Decimal });
export type CgroupStatus = typeof CgroupStatus.Type;

export const WorkloadStatus = Schema.Struct({
  uid: Schema.String,
  namespace: Schema.String,
  name: Schema.String,
  /** Those of its network namespace that it owns, or what the API reports while that is not known. */
  ips: Schema.Array(Schema.String),
  /** The pod-level cgroup first. */
  cgroups: Schema.Array(CgroupStatus),
  netnsCookie: Schema.optional(Decimal),
  role: Schema.Literals(['workload', 'ztunnel']),
  state: KeptState,
  /** Earlier versions left this out. */
  code: Schema.optionalKey(StatusCode),
  /** In `inPod` mode, whether what comes in goes to ztunnel: yes, no (not yet), or bypassed by an annotation. */
  inbound: Schema.optionalKey(Schema.Literals(['yes', 'no', 'bypassed'])),
  /** Of a pod in the mesh, how what goes out of it is captured. Earlier versions left this out. */
  capture: Schema.optionalKey(Capture),
  /** `in mesh: namespace label istio.io/dataplane-mode=ambient`, `out: hostNetwork`, `pending: no ztunnel is connected` */
  reason: Schema.String,
  problems: Schema.Array(Schema.String),
});
export type WorkloadStatus = typeof WorkloadStatus.Type;

/** A status with the time at which state or reason last changed, and since when a pending pod has been pending; ISO 8601. */
export const DatedStatus = Schema.Struct({
  ...WorkloadStatus.fields,
  since: Schema.String,
  waitsSince: Schema.optionalKey(Schema.String),
});
export type DatedStatus = typeof DatedStatus.Type;

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
    const since = isSame ? was.since : now.toISOString();
    if (status.state !== 'pending') return { ...status, since };
    return { ...status, since, waitsSince: (was?.state === 'pending' ? was.waitsSince : undefined) ?? since };
  });
}
