// Whether one object stays: an agent that is told to end has to know why.
import * as Effect from 'effect/Effect';
import type { ApiClient } from './api-client.js';
import { ApiError } from './api-error.js';
import { isRecord } from './resource.js';
import { withRetries, type RetryOptions } from './retry.js';

/** `leaving`: it has a deletionTimestamp, and is kept only until what it owns has ended. */
export type ObjectFate = 'stays' | 'leaving' | 'gone';

/**
 * Fails when the server does not tell: 401 and 403 do not answer this question.
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
      const message = 'the answer is not a Kubernetes object';
      return Effect.fail(new ApiError(`GET ${path}`, { reason: 'Garbled', message }));
    }),
    Effect.catchIf(
      ({ code }) => code === 404,
      () => Effect.succeed<ObjectFate>('gone'),
    ),
    (attempt) => withRetries(attempt, options),
  );
