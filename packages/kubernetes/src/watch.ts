// What changes after a revision, one event at a time.
import type { ApiClient } from './api-client.js';
import { ApiError, statusError } from './api-error.js';
import { isRecord, type ApiResource } from './resource.js';

export interface WatchOptions {
  readonly resourceVersion: string;
  readonly fieldSelector?: string;
  readonly labelSelector?: string;
  /** When the server is to end the watch by itself, in seconds. */
  readonly timeoutSeconds: number;
  /** The longest time without a byte, in milliseconds. */
  readonly silenceMs: number;
  readonly signal?: AbortSignal;
  readonly onOpen?: () => void;
}

export interface WatchEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  readonly object: unknown;
}

/**
 * Ends when the server ends it. Throws ApiError for everything else: a line that is no event ends the watch, since no one
 * knows what it was to say, and the next watch from the same revision says it again.
 */
export async function* watch(
  client: ApiClient,
  resource: ApiResource,
  options: WatchOptions,
): AsyncGenerator<WatchEvent, void, undefined> {
  const { resourceVersion, fieldSelector, labelSelector, timeoutSeconds, silenceMs, signal, onOpen } = options;
  const subject = `WATCH ${resource.path}`;
  const request = {
    method: 'GET',
    path: resource.path,
    query: { watch: true, allowWatchBookmarks: true, resourceVersion, fieldSelector, labelSelector, timeoutSeconds },
    silenceMs,
    ...(signal && { signal }),
  } as const;
  for await (const line of client.lines(request, onOpen)) {
    const { type, object } = parse(line, subject);
    if (type === 'ADDED' || type === 'MODIFIED' || type === 'DELETED' || type === 'BOOKMARK') yield { type, object };
    else if (type === 'ERROR') {
      const code = isRecord(object) && typeof object['code'] === 'number' ? object['code'] : 500;
      throw statusError(subject, code, JSON.stringify(object), undefined);
    } else throw new ApiError(subject, { reason: 'Garbled', message: `there is no event of type ${String(type)}` });
  }
}

function parse(line: string, subject: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line);
    if (isRecord(value)) return value;
  } catch {
    // below
  }
  throw new ApiError(subject, { reason: 'Garbled', message: `this is no event: ${JSON.stringify(line.slice(0, 80))}` });
}
