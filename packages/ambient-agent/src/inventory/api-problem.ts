// The message about an API server that cannot be asked: what was asked, why it failed, what holds meanwhile, and the remedy.
import type { ApiError, ApiResource, ReflectorState } from '@sluice/kubernetes';

const FORBIDDEN = 403;
const UNAUTHORIZED = 401;

function remedy(error: ApiError, resource: ApiResource): string {
  if (error.code === FORBIDDEN) {
    return `; give its service account the right to list and watch ${resource.kind.toLowerCase()}s (ClusterRole sluice)`;
  }
  if (error.code === UNAUTHORIZED) return '; its token is not valid: does the service account still exist?';
  return '';
}

/** One sentence, which stays the same while the problem lasts. Pure. */
export function apiProblem(resource: ApiResource, state: ReflectorState, error: ApiError): string {
  const knowledge =
    !state.synced || state.lastContactMs === undefined
      ? 'nothing is known of them yet'
      : `what was known of them at ${new Date(state.lastContactMs).toISOString().slice(0, 19)}Z stays in force`;
  return `the Kubernetes API cannot be asked for ${resource.kind.toLowerCase()}s, and ${knowledge}: ${error.message}${remedy(error, resource)}`;
}
