// Watches a collection: the changes after a revision, one event at a time.
import * as Effect from 'effect/Effect';
import type * as Scope from 'effect/Scope';
import * as Stream from 'effect/Stream';
import type { ApiClient } from './api-client.js';
import { ApiError, statusError } from './api-error.js';
import { isRecord, type ApiResource, type Selectors } from './resource.js';

export interface WatchOptions extends Selectors {
  readonly resourceVersion: string | undefined;
  /** After how long the server is to end the watch, in seconds. */
  readonly timeoutSeconds: number;
  /** The longest time without a byte, in milliseconds. */
  readonly silenceMs: number;
}

export interface WatchEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  readonly object: unknown;
}

/**
 * Succeeds when the server has begun to answer. The stream of events ends when the server ends the watch, and fails on anything
 * else. A line that is not an event ends the watch too, because nobody knows what it meant; the next watch from the same
 * revision sends the event again.
 */
export const watch = (
  client: ApiClient,
  resource: ApiResource,
  { silenceMs, ...query }: WatchOptions,
): Effect.Effect<Stream.Stream<WatchEvent, ApiError>, ApiError, Scope.Scope> =>
  Effect.map(
    client.lines({
      method: 'GET',
      path: resource.path,
      query: { watch: true, allowWatchBookmarks: true, ...query },
      silenceMs,
    }),
    Stream.mapEffect((line) => eventOf(line, `WATCH ${resource.path}`)),
  );

const eventOf = (line: string, subject: string): Effect.Effect<WatchEvent, ApiError> => {
  const { type, object } = parse(line);
  if (type === 'ADDED' || type === 'MODIFIED' || type === 'DELETED' || type === 'BOOKMARK')
    return Effect.succeed({ type, object });
  if (type === 'ERROR') {
    const code = isRecord(object) && typeof object['code'] === 'number' ? object['code'] : 500;
    return Effect.fail(statusError(subject, code, JSON.stringify(object), undefined));
  }
  const message = `this is not an event: ${JSON.stringify(line.slice(0, 80))}`;
  return Effect.fail(new ApiError(subject, { reason: 'Garbled', message }));
};

function parse(line: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line);
    return isRecord(value) ? value : {};
  } catch {
    return {};
  }
}
