// Tries a write again if that can help.
import * as Effect from 'effect/Effect';
import * as Schedule from 'effect/Schedule';
import type { ApiError } from './api-error.js';
import { backOffMs, type BackOff } from './back-off.js';

export interface RetryOptions {
  /** How many attempts in all; 6 by default, which take about half a minute with the default back-off. */
  readonly attempts?: number;
  readonly backOff?: BackOff;
}

const WRITE_BACK_OFF: BackOff = { baseMs: 500, capMs: 10_000 };

/**
 * Whether the same request may succeed later. 401 may, because the credentials are then read again, and 409, because the
 * server merges the patch again; 403 and the other 4xx do not go away by themselves.
 */
function isTransient({ code }: ApiError): boolean {
  return code === undefined || code === 401 || code === 409 || code === 429 || code >= 500;
}

/** Fails with the last error if it is not transient, or if the attempts are used up. */
export const withRetries = <A>(
  attempt: Effect.Effect<A, ApiError>,
  { attempts = 6, backOff = WRITE_BACK_OFF }: RetryOptions,
): Effect.Effect<A, ApiError> => {
  const schedule = Schedule.modifyDelay(
    Schedule.setInputType<ApiError>()(Schedule.forever),
    ({ attempt: failures, input }) => Effect.sync(() => backOffMs(backOff, failures, input.retryAfterMs)),
  );
  return Effect.retry(attempt, { schedule, times: attempts - 1, while: isTransient });
};
