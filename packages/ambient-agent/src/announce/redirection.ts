// The annotation by which istiod makes peers use HBONE to a pod (istio pkg/config/constants,
// pilot/pkg/serviceregistry/ambient/workloads.go). It is a status, and the agent never reads it as an order.
import type { WorkloadStatus } from '../enrolment/status.js';

export const REDIRECTION_ANNOTATION = 'ambient.istio.io/redirection';

/** `enabled`: peers may send HBONE. `pending`: wanted in the mesh and not served yet. Undefined: no annotation. */
export type Redirection = 'enabled' | 'pending' | undefined;

/** Pure. A pod without a cgroup has not started, and gets no annotation; one that leaves is not announced any more. */
export function redirectionOf({
  state,
  code,
  role,
  cgroups,
}: Pick<WorkloadStatus, 'state' | 'code' | 'role' | 'cgroups'>): Redirection {
  if (role === 'ztunnel' || code === 'leaving') return undefined;
  if (state === 'in') return 'enabled';
  return state === 'pending' && cgroups.length > 0 ? 'pending' : undefined;
}
