// The one error of this package: what was asked, what was answered, and whether it is worth asking again.
import * as Data from 'effect/Data';
import { isRecord } from './resource.js';

/**
 * `code` is the HTTP status, or undefined if there was no (whole) answer. `reason` is the API server's own word
 * (apimachinery/pkg/apis/meta/v1/types.go: NotFound, Conflict, Expired, ...) or one of ours:
 * `Unreachable` (no connection, or it broke), `Silent` (nothing arrived for too long), `Garbled` (no API server answers
 * like that), `Credentials` (they could not be read).
 */
export class ApiError extends Data.TaggedError('ApiError')<{
  readonly message: string;
  readonly code: number | undefined;
  readonly reason: string;
  /** How long the server asks the client to wait, in milliseconds. */
  readonly retryAfterMs: number | undefined;
  readonly cause?: unknown;
}> {
  constructor(
    what: string,
    facts: { code?: number; reason: string; message: string; retryAfterMs?: number; cause?: unknown },
  ) {
    super({
      message: `${what}: ${facts.code === undefined ? '' : `${facts.code} `}${facts.reason}: ${facts.message}`,
      code: facts.code,
      reason: facts.reason,
      retryAfterMs: facts.retryAfterMs,
      ...(facts.cause !== undefined && { cause: facts.cause }),
    });
  }

  /** The server does not know the revision that was asked for, or no longer: only a list helps. */
  get isExpired(): boolean {
    return this.code === 410 || this.reason === 'Expired' || this.reason === 'Gone';
  }
}

export const wordsOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));

/** Makes an error from a Status object, or from what was sent instead (a proxy's page, plain text, nothing). */
export function statusError(what: string, code: number, body: string, retryAfter: string | undefined): ApiError {
  const status = parse(body);
  const details = status?.['details'];
  const retryAfterMs =
    retryAfterOf(retryAfter) ?? (isRecord(details) ? retryAfterOf(details['retryAfterSeconds']) : undefined);
  return new ApiError(what, {
    code,
    reason: textOf(status?.['reason']) ?? 'Unknown',
    message: textOf(status?.['message']) ?? (body.slice(0, 200).trim() || 'no explanation'),
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  });
}

/** Seconds, as text or number. The client waits five minutes at most, whatever the server asks for. */
function retryAfterOf(seconds: unknown): number | undefined {
  if (seconds === undefined || seconds === '' || !Number.isFinite(Number(seconds))) return undefined;
  return Math.min(Math.max(Number(seconds), 0), 300) * 1000;
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function parse(body: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(body);
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
