// What Istio is told of a pod: the annotation by which istiod makes peers use HBONE (istio pkg/config/constants,
// pilot/pkg/serviceregistry/ambient/workloads.go). It is status: nothing here reads it as an order.
import type { WorkloadStatus } from '../enrolment/status.js';

export const REDIRECTION_ANNOTATION = 'ambient.istio.io/redirection';

/** `enabled`: peers may send HBONE. `pending`: wanted in the mesh and not served yet. Undefined: there is no annotation. */
export type Redirection = 'enabled' | 'pending' | undefined;

/** Pure. A pod without a cgroup has not started, and nothing is said of it. */
export function redirectionOf({
  state,
  role,
  cgroups,
}: Pick<WorkloadStatus, 'state' | 'role' | 'cgroups'>): Redirection {
  if (role === 'ztunnel') return undefined;
  if (state === 'in') return 'enabled';
  return state === 'pending' && cgroups.length > 0 ? 'pending' : undefined;
}
