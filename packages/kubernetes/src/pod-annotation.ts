// Writes one annotation of a pod, by a merge patch on pods/status, which needs no right to change a pod's spec.
import * as Effect from 'effect/Effect';
import type { ApiClient } from './api-client.js';
import type { ApiError } from './api-error.js';
import { PODS, asObject } from './resource.js';
import { withRetries, type RetryOptions } from './retry.js';

export interface PodReference {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/**
 * Sets an annotation, or removes it (null), and changes nothing else of the pod. Succeeds with `gone` when that pod no longer
 * exists, whether or not another one has its name. Tries again on 401, 409, 429, 5xx and broken connections; fails on other
 * errors (403: the role lacks `patch` on `pods/status`), and after the last attempt.
 */
export const patchPodAnnotation = (
  client: ApiClient,
  pod: PodReference,
  key: string,
  value: string | null,
  options: RetryOptions = {},
): Effect.Effect<'patched' | 'gone', ApiError> =>
  client
    .request({
      method: 'PATCH',
      path: `${podPath(pod)}/status`,
      // With the uid, the server refuses the patch if another pod has the name by now.
      body: { metadata: { uid: pod.uid, annotations: { [key]: value } } },
      contentType: 'application/merge-patch+json',
    })
    .pipe(
      Effect.as('patched' as const),
      Effect.catch((error) =>
        Effect.flatMap(isGone(client, pod, error), (gone) => (gone ? Effect.succeed('gone' as const) : error)),
      ),
      (attempt) => withRetries(attempt, options),
    );

/** False if it cannot be known, such as without the right to get pods. */
const isGone = (client: ApiClient, pod: PodReference, { code }: ApiError): Effect.Effect<boolean> => {
  // A wrong uid is a Conflict or Invalid, depending on the server's version; only the pod itself shows which it was.
  if (code !== 409 && code !== 422) return Effect.succeed(code === 404);
  return client.request({ method: 'GET', path: podPath(pod) }).pipe(
    Effect.map((object) => (asObject(object, PODS)?.metadata.uid ?? pod.uid) !== pod.uid),
    Effect.catch((error) => Effect.succeed(error.code === 404)),
  );
};

function podPath({ namespace, name }: PodReference): string {
  return `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}`;
}
