// Whether one object is there to stay: for an agent that is told to end, and has to know why.
import type { ApiClient } from './api-client.js';
import { ApiError } from './api-error.js';
import { isRecord } from './resource.js';
import { withRetries, type RetryOptions } from './retry.js';

/** `leaving`: it has a deletionTimestamp, and is kept only until what it owns has ended. */
export type ObjectFate = 'stays' | 'leaving' | 'gone';

/**
 * @param path of the object, such as `/apis/apps/v1/namespaces/istio-system/daemonsets/sluice-node`
 * @throws ApiError when the server does not say: 401 and 403 are no answer to this question
 */
export function objectFate(client: ApiClient, path: string, options: RetryOptions = {}): Promise<ObjectFate> {
  return withRetries(async () => {
    try {
      const { signal } = options;
      const object = await client.request({ method: 'GET', path, ...(signal && { signal }) });
      const metadata = isRecord(object) ? object['metadata'] : undefined;
      if (!isRecord(metadata))
        throw new ApiError(`GET ${path}`, { reason: 'Garbled', message: 'the answer is no Kubernetes object' });
      return typeof metadata['deletionTimestamp'] === 'string' ? 'leaving' : 'stays';
    } catch (error) {
      if (error instanceof ApiError && error.code === 404) return 'gone';
      throw error;
    }
  }, options);
}
