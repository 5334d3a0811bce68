// Writes Events on pods, which `kubectl describe pod` shows, few enough that they do no harm to the server.
import { randomBytes } from 'node:crypto';
import * as Clock from 'effect/Clock';
import * as Effect from 'effect/Effect';
import type { ApiClient } from './api-client.js';
import type { ApiError } from './api-error.js';
import type { PodReference } from './pod-annotation.js';
import { withRetries, type RetryOptions } from './retry.js';

export interface PodEvent {
  readonly type: 'Normal' | 'Warning';
  /** A word in CamelCase, such as `NotEnrolled`, by which Events are counted. */
  readonly reason: string;
  /** For people. At most 1024 bytes are kept. */
  readonly message: string;
}

export interface PodEventsOptions extends RetryOptions {
  readonly client: ApiClient;
  /** `source.component`, such as `sluice`. */
  readonly component: string;
  /** The node's name: `source.host`. */
  readonly host: string;
  /** How long the same reason is not repeated for the same pod, in milliseconds; ten minutes by default. */
  readonly quietMs?: number;
}

const QUIET_MS = 600_000;
/** apis/core/validation/events.go: NoteLengthLimit */
const LONGEST_MESSAGE = 1024;
/** How many (pod, reason) pairs are remembered. The oldest is forgotten first, and may then be repeated early. */
const REMEMBERED = 4096;

interface Told {
  readonly sinceMs: number;
  /** How often it came up and was withheld. */
  withheld: number;
}

export class PodEvents {
  readonly #options: PodEventsOptions;
  readonly #told = new Map<string, Told>();

  constructor(options: PodEventsOptions) {
    this.#options = options;
  }

  /**
   * `withheld`: the same was written not long ago; the next Event says how often it came up. An Event that cannot be written is
   * not remembered. Fails after the last attempt (403: the role lacks `create` on `events`).
   */
  readonly record = Effect.fnUntraced(function* (
    this: PodEvents,
    pod: PodReference,
    event: PodEvent,
  ): Effect.fn.Return<'created' | 'withheld', ApiError> {
    const { quietMs = QUIET_MS } = this.#options;
    const now = yield* Clock.currentTimeMillis;
    const key = `${pod.uid} ${event.reason}`;
    const before = this.#told.get(key);
    if (before !== undefined && now - before.sinceMs < quietMs) {
      before.withheld += 1;
      return 'withheld';
    }
    // It is remembered before it is written, so that two at the same time make one Event.
    const told: Told = { sinceMs: now, withheld: 0 };
    this.#told.delete(key);
    this.#told.set(key, told);
    this.#forgetOldest();
    yield* Effect.onError(this.#create(pod, event, before, now), () =>
      Effect.sync(() => {
        if (this.#told.get(key) !== told) return;
        if (before === undefined) this.#told.delete(key);
        else this.#told.set(key, before);
      }),
    );
    return 'created';
  });

  #create(pod: PodReference, event: PodEvent, before: Told | undefined, now: number): Effect.Effect<unknown, ApiError> {
    const { client, component, host } = this.#options;
    const body = {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: {
        // The name has client-go's form, with random digits instead of the time, so a retry after a lost answer finds its own Event.
        name: `${pod.name.slice(0, 236).replace(/[^a-z0-9]+$/, '')}.${randomBytes(8).toString('hex')}`,
        namespace: pod.namespace,
      },
      involvedObject: { apiVersion: 'v1', kind: 'Pod', namespace: pod.namespace, name: pod.name, uid: pod.uid },
      type: event.type,
      reason: event.reason,
      message: cut(event.message),
      count: 1 + (before?.withheld ?? 0),
      firstTimestamp: seconds(before?.sinceMs ?? now),
      lastTimestamp: seconds(now),
      source: { component, host },
      reportingComponent: component,
      reportingInstance: host,
    };
    const path = `/api/v1/namespaces/${encodeURIComponent(pod.namespace)}/events`;
    return client.request({ method: 'POST', path, body }).pipe(
      Effect.catchIf(
        ({ reason }) => reason === 'AlreadyExists',
        () => Effect.void,
      ),
      (attempt) => withRetries(attempt, this.#options),
    );
  }

  #forgetOldest(): void {
    for (const key of this.#told.keys()) {
      if (this.#told.size <= REMEMBERED) return;
      this.#told.delete(key);
    }
  }
}

/** metav1.Time has no fractions. */
function seconds(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
}

function cut(message: string): string {
  const bytes = Buffer.from(message);
  if (bytes.length <= LONGEST_MESSAGE) return message;
  const ellipsis = '...';
  // A character that is cut in two becomes U+FFFD, which takes three bytes for at most three; it is dropped.
  return (
    bytes
      .subarray(0, LONGEST_MESSAGE - ellipsis.length)
      .toString('utf8')
      .replace(/\uFFFD$/, '') + ellipsis
  );
}
