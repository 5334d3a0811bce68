// One annotation of a pod, by merge patch on pods/status: no right to change a pod's spec is needed for it.
import type { ApiClient } from './api-client.js';
import { ApiError } from './api-error.js';
import { PODS, asObject } from './resource.js';
import { withRetries, type RetryOptions } from './retry.js';

export interface PodReference {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/**
 * Sets an annotation, or removes it (null). Nothing else of the pod is touched, and another writer's annotations are left
 * alone. `gone` when that pod is no more, whether or not there is another of its name. Tried again on 401, 409, 429,
 * 5xx and broken connections.
 * @throws ApiError for what does not get better (403: the role lacks `patch` on `pods/status`), and after the last attempt
 */
export function patchPodAnnotation(
  client: ApiClient,
  pod: PodReference,
  key: string,
  value: string | null,
  options: RetryOptions = {},
): Promise<'patched' | 'gone'> {
  const path = podPath(pod);
  return withRetries(async () => {
    try {
      await client.request({
        method: 'PATCH',
        path: `${path}/status`,
        // The uid makes the server refuse the patch when the name is another pod's by now.
        body: { metadata: { uid: pod.uid, annotations: { [key]: value } } },
        contentType: 'application/merge-patch+json',
        ...(options.signal && { signal: options.signal }),
      });
      return 'patched';
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.code === 404) return 'gone';
      // A wrong uid is a Conflict or Invalid, by the server's version: only the pod itself can tell.
      if ((error.code === 409 || error.code === 422) && (await isGone(client, pod))) return 'gone';
      throw error;
    }
  }, options);
}

/** False when it cannot be known, such as without the right to get pods. */
async function isGone(client: ApiClient, pod: PodReference): Promise<boolean> {
  try {
    const object = asObject(await client.request({ method: 'GET', path: podPath(pod) }), PODS);
    return object !== undefined && object.metadata.uid !== pod.uid;
  } catch (error) {
    return error instanceof ApiError && error.code === 404;
  }
}

function podPath({ namespace, name }: PodReference): string {
  return `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}`;
}
