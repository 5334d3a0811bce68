// Writes that are tried again where that can help.
import { setTimeout as sleep } from 'node:timers/promises';
import { ApiError } from './api-error.js';
import { backOffMs, type BackOff } from './back-off.js';

export interface RetryOptions {
  /** How often in all; 6 by default: about half a minute with the default back-off. */
  readonly attempts?: number;
  readonly backOff?: BackOff;
  readonly signal?: AbortSignal;
}

const WRITE_BACK_OFF: BackOff = { baseMs: 500, capMs: 10_000 };

/**
 * Whether the same request may succeed later. 401 may, since the credentials are then read again, and 409, since the
 * server merges the patch again; 403 and the other 4xx do not get better by themselves.
 */
export function isTransient({ code, reason }: ApiError): boolean {
  if (code === undefined) return reason !== 'Closed';
  return code === 401 || code === 409 || code === 429 || code >= 500;
}

/** @throws the last ApiError, when it is not transient or the attempts are used up */
export async function withRetries<A>(attempt: () => Promise<A>, options: RetryOptions = {}): Promise<A> {
  const { attempts = 6, backOff = WRITE_BACK_OFF, signal } = options;
  for (let failures = 1; ; failures += 1) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof ApiError) || !isTransient(error) || failures >= attempts) throw error;
      signal?.throwIfAborted();
      await sleep(backOffMs(backOff, failures, error.retryAfterMs), undefined, signal && { signal });
    }
  }
}
