// Whether one object is there to stay: for an agent that is told to end, and has to know why.
import * as Effect from 'effect/Effect';
import type { ApiClient } from './api-client.js';
import { ApiError } from './api-error.js';
import { isRecord } from './resource.js';
import { withRetries, type RetryOptions } from './retry.js';

/** `leaving`: it has a deletionTimestamp, and is kept only until what it owns has ended. */
export type ObjectFate = 'stays' | 'leaving' | 'gone';

/**
 * Fails when the server does not say: 401 and 403 are no answer to this question.
 * @param path of the object, such as `/apis/apps/v1/namespaces/istio-system/daemonsets/sluice-node`
 */
export const objectFate = (
  client: ApiClient,
  path: string,
  options: RetryOptions = {},
): Effect.Effect<ObjectFate, ApiError> =>
  client.request({ method: 'GET', path }).pipe(
    Effect.flatMap((object): Effect.Effect<ObjectFate, ApiError> => {
      const metadata = isRecord(object) ? object['metadata'] : undefined;
      if (isRecord(metadata))
        return Effect.succeed(typeof metadata['deletionTimestamp'] === 'string' ? 'leaving' : 'stays');
      const message = 'the answer is no Kubernetes object';
      return Effect.fail(new ApiError(`GET ${path}`, { reason: 'Garbled', message }));
    }),
    Effect.catchIf(
      ({ code }) => code === 404,
      () => Effect.succeed<ObjectFate>('gone'),
    ),
    (attempt) => withRetries(attempt, options),
  );
