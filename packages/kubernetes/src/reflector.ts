// Keeps a copy of one collection of the API server: list, then watch, and again for as long as it is open, whatever the
// server does. docs/decisions/kubernetes-api.md says why it is ours.
import { setTimeout as sleep } from 'node:timers/promises';
import { Subject, type Observable } from 'rxjs';
import type { ApiClient } from './api-client.js';
import { ApiError } from './api-error.js';
import { backOffMs, defaultBackOff, type BackOff } from './back-off.js';
import { list } from './list.js';
import { ObjectCache, type Change, type Listed } from './object-cache.js';
import { asObject, isNotAfter, isRecord, type ApiObject, type ApiResource } from './resource.js';
import { watch, type WatchEvent } from './watch.js';

export interface ReflectorOptions<T> {
  readonly client: ApiClient;
  readonly resource: ApiResource;
  readonly fieldSelector?: string;
  readonly labelSelector?: string;
  /** Keeps the fields that are used; throws for an object that cannot be used, which is counted and skipped. */
  readonly trim: (object: ApiObject) => T;
  /** Objects a page of a list; 0 asks for everything at once. */
  readonly pageSize?: number;
  /**
   * `latest` (the default) asks the server's storage, page by page, for what is true at that moment. `cached` takes what
   * the server has in memory, in one piece and at least as new as what is known here: stale at the first list, when the
   * server is, but cheap for the server where many nodes ask for a few objects of very many.
   */
  readonly lists?: 'latest' | 'cached';
  /** How long one watch is to last, in seconds; up to a tenth less is drawn at random. */
  readonly watchSeconds?: number;
  /** A watch on which nothing comes for so long, in milliseconds, is taken for dead. Servers send a bookmark a minute. */
  readonly silenceMs?: number;
  readonly backOff?: BackOff;
}

export interface ReflectorState {
  /** A list was taken in whole. Stays true: what is known is gone on with. */
  readonly synced: boolean;
  /** A watch is open. */
  readonly connected: boolean;
  /** When the server last said something that was understood, in ms since the epoch. */
  readonly lastContactMs: number | undefined;
  readonly resourceVersion: string | undefined;
  /** In a row, since a watch was last of use. */
  readonly failures: number;
  /** Why there is no watch; undefined when there is one. */
  readonly lastError: ApiError | undefined;
}

export interface ReflectorCounters {
  readonly lists: number;
  readonly watches: number;
  readonly events: number;
  /** Events that said what was known. */
  readonly duplicates: number;
  /** Objects without an identity, or that `trim` refused. */
  readonly badObjects: number;
  /** By `ApiError.reason`. */
  readonly failures: ReadonlyMap<string, number>;
}

export interface ReflectorProblem {
  readonly error: ApiError;
  /** How long until the next attempt, in milliseconds. */
  readonly retryInMs: number;
}

/** A watch that lasted so long was a good one, whether or not there was anything to say, in milliseconds. */
const GOOD_WATCH_MS = 5000;
/** After so many watches in a row that opened and said nothing of use, the revision is doubted and a list is taken. */
const BARREN_WATCHES = 3;

export class Reflector<T> {
  readonly #options: Required<Omit<ReflectorOptions<T>, 'fieldSelector' | 'labelSelector'>> & {
    readonly selectors: { fieldSelector?: string; labelSelector?: string };
  };
  readonly #cache: ObjectCache<T>;
  readonly #changes = new Subject<readonly Change<T>[]>();
  readonly #problems = new Subject<ReflectorProblem>();
  readonly #resumptions = new Subject<void>();
  readonly #closing = new AbortController();
  readonly #running: Promise<void>;
  readonly #synced: Promise<void>;
  #onSynced: () => void = () => {};
  #isSynced = false;
  #connected = false;
  #lastContactMs: number | undefined;
  /** Where the next watch begins; undefined: a list is needed. */
  #position: string | undefined;
  #lastKnown: string | undefined;
  /** The revision may be one that the server does not have: the next list asks for no revision. */
  #doubted = false;
  #failures = 0;
  #barren = 0;
  #lastError: ApiError | undefined;
  readonly #counts = { lists: 0, watches: 0, events: 0, duplicates: 0, badObjects: 0 };
  readonly #failuresByReason = new Map<string, number>();

  /** Starts at once. */
  constructor(options: ReflectorOptions<T>) {
    const { fieldSelector, labelSelector, ...rest } = options;
    this.#options = {
      pageSize: 500,
      lists: 'latest',
      watchSeconds: 290,
      silenceMs: 120_000,
      backOff: defaultBackOff,
      ...rest,
      selectors: {
        ...(fieldSelector !== undefined && { fieldSelector }),
        ...(labelSelector !== undefined && { labelSelector }),
      },
    };
    this.#cache = new ObjectCache(options.trim);
    this.#synced = new Promise((resolve) => (this.#onSynced = resolve));
    this.#running = this.#run();
  }

  /** What is known now, by UID. */
  get objects(): Pick<ObjectCache<T>, 'get' | 'has' | 'size' | typeof Symbol.iterator> {
    return this.#cache;
  }

  /**
   * What has become of `objects`, one array for each event or list; `objects` is up to date when it is emitted. Has no
   * history: subscribe before the next turn of the event loop to miss nothing. Completes at `close`.
   */
  get changes(): Observable<readonly Change<T>[]> {
    return this.#changes;
  }

  /** Why the server is being left alone for a while. Completes at `close`. */
  get problems(): Observable<ReflectorProblem> {
    return this.#problems;
  }

  /** The server is heard again, after a problem. Completes at `close`. */
  get resumptions(): Observable<void> {
    return this.#resumptions;
  }

  get state(): ReflectorState {
    return {
      synced: this.#isSynced,
      connected: this.#connected,
      lastContactMs: this.#lastContactMs,
      resourceVersion: this.#lastKnown,
      failures: this.#failures,
      lastError: this.#connected ? undefined : this.#lastError,
    };
  }

  get counters(): ReflectorCounters {
    return { ...this.#counts, failures: new Map(this.#failuresByReason) };
  }

  /** Fulfilled with the first whole list; never, when it is closed before. */
  whenSynced(): Promise<void> {
    return this.#synced;
  }

  /** Ends its requests, and forgets nothing of what is known. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#running;
    this.#changes.complete();
    this.#problems.complete();
    this.#resumptions.complete();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      try {
        this.#position ??= await this.#list();
        await this.#watch(this.#position);
      } catch (error) {
        if (signal.aborted) return;
        const wait = this.#failed(asApiError(error));
        await sleep(wait, undefined, { signal }).catch(() => {});
      }
    }
  }

  async #list(): Promise<string> {
    const { client, resource, pageSize, lists, selectors } = this.#options;
    this.#counts.lists += 1;
    let listed: Listed<T> = { entries: new Map(), unreadable: new Set() };
    const notOlderThan = lists === 'cached' && !this.#doubted ? (this.#lastKnown ?? '0') : undefined;
    const position = await list(
      client,
      resource,
      {
        ...selectors,
        pageSize,
        signal: this.#closing.signal,
        ...(notOlderThan !== undefined && { notOlderThan }),
      },
      {
        onPage: (items) => {
          this.#lastContactMs = Date.now();
          for (const item of items) this.#take(item, listed);
        },
        restart: () => {
          listed = { entries: new Map(), unreadable: new Set() };
        },
      },
    );
    const changes = this.#cache.replace(listed);
    this.#position = position;
    this.#lastKnown = position;
    this.#doubted = false;
    // Of before: the server has just said everything.
    this.#lastError = undefined;
    this.#isSynced = true;
    this.#onSynced();
    if (changes.length > 0) this.#changes.next(changes);
    return position;
  }

  #take(item: unknown, { entries, unreadable }: Listed<T>): void {
    const object = asObject(item, this.#options.resource);
    if (object === undefined) {
      this.#counts.badObjects += 1;
      return;
    }
    try {
      entries.set(object.metadata.uid, this.#cache.entry(object));
    } catch {
      this.#counts.badObjects += 1;
      unreadable.add(object.metadata.uid);
    }
  }

  /** Returns when the server has ended a watch that was of use; throws otherwise. */
  async #watch(from: string): Promise<void> {
    const { client, resource, selectors, watchSeconds, silenceMs } = this.#options;
    this.#counts.watches += 1;
    let openedMs = 0;
    let useful = false;
    try {
      const events = watch(client, resource, {
        ...selectors,
        resourceVersion: from,
        timeoutSeconds: Math.max(1, Math.round(watchSeconds * (1 - Math.random() / 10))),
        silenceMs,
        signal: this.#closing.signal,
        onOpen: () => {
          openedMs = performance.now();
          this.#lastContactMs = Date.now();
          this.#connected = true;
          if (this.#failures > 0) this.#resumptions.next();
        },
      });
      for await (const event of events) {
        this.#lastContactMs = Date.now();
        if (!this.#apply(event)) continue;
        useful = true;
        this.#failures = 0;
        this.#barren = 0;
      }
      if (performance.now() - openedMs > GOOD_WATCH_MS) {
        this.#failures = 0;
        this.#barren = 0;
        return;
      }
      // Of use or not, one that is so short is not begun again at once.
      throw new ApiError(`WATCH ${resource.path}`, { reason: 'Ended', message: 'the watch ended as soon as it began' });
    } catch (error) {
      if (openedMs > 0 && !useful) this.#barren += 1;
      throw error;
    } finally {
      this.#connected = false;
    }
  }

  /** True when the event took us on. */
  #apply({ type, object: raw }: WatchEvent): boolean {
    this.#counts.events += 1;
    const position = this.#position;
    const revision = revisionOf(raw);
    if (type === 'BOOKMARK') {
      if (revision === undefined) return false;
      // A server whose revisions are behind ours was set back: what it has now, only a list can tell.
      if (revision !== position && isNotAfter(revision, position)) this.#setBack(revision);
      this.#moveTo(revision);
      return true;
    }
    const isOld = isNotAfter(revision, position);
    if (revision !== undefined && !isOld) this.#moveTo(revision);
    const object = asObject(raw, this.#options.resource);
    if (object === undefined) {
      this.#counts.badObjects += 1;
      return false;
    }
    if (isOld && (type !== 'DELETED' || !this.#cache.has(object.metadata.uid))) {
      this.#counts.duplicates += 1;
      return false;
    }
    try {
      const changes = type === 'DELETED' ? this.#cache.delete(object.metadata.uid, revision) : this.#cache.put(object);
      if (changes.length > 0) this.#changes.next(changes);
    } catch {
      this.#counts.badObjects += 1;
      return false;
    }
    return true;
  }

  #moveTo(revision: string): void {
    this.#position = revision;
    this.#lastKnown = revision;
  }

  #setBack(revision: string): never {
    this.#position = undefined;
    this.#doubted = true;
    throw new ApiError(`WATCH ${this.#options.resource.path}`, {
      reason: 'SetBack',
      message: `the server is at revision ${revision}, behind what it said before`,
    });
  }

  /** Decides what is next; returns how long to wait for it. */
  #failed(error: ApiError): number {
    this.#failures += 1;
    this.#lastError = error;
    this.#failuresByReason.set(error.reason, (this.#failuresByReason.get(error.reason) ?? 0) + 1);
    if (error.isExpired) this.#position = undefined;
    // Such as 504 for a revision that the server has not reached, or never will.
    else if (this.#position === undefined) this.#doubted = true;
    else if (this.#barren >= BARREN_WATCHES) {
      this.#position = undefined;
      this.#doubted = true;
    }
    if (this.#position === undefined) this.#barren = 0;
    const retryInMs = backOffMs(this.#options.backOff, this.#failures, error.retryAfterMs);
    this.#problems.next({ error, retryInMs });
    return retryInMs;
  }
}

function revisionOf(raw: unknown): string | undefined {
  const metadata = isRecord(raw) ? raw['metadata'] : undefined;
  const revision = isRecord(metadata) ? metadata['resourceVersion'] : undefined;
  return typeof revision === 'string' && revision !== '' ? revision : undefined;
}

function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  return new ApiError('reflector', { reason: 'Internal', message: String(error), cause: error });
}
