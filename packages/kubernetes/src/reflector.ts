// Keeps a copy of one collection of the API server: lists, watches, and starts again while the scope lasts, whatever
// the server does. docs/decisions/kubernetes-api.md says why we have our own.
import * as Clock from 'effect/Clock';
import * as Deferred from 'effect/Deferred';
import * as Duration from 'effect/Duration';
import * as Effect from 'effect/Effect';
import type * as Scope from 'effect/Scope';
import * as Stream from 'effect/Stream';
import type { Mutable } from 'effect/Types';
import type { ApiClient } from './api-client.js';
import { ApiError } from './api-error.js';
import { backOffMs, defaultBackOff, type BackOff } from './back-off.js';
import { list } from './list.js';
import { ObjectCache, type Change, type Listed } from './object-cache.js';
import { asObject, isNotAfter, isRecord, type ApiObject, type ApiResource, type Selectors } from './resource.js';
import { watch, type WatchEvent } from './watch.js';

export interface ReflectorOptions<T> extends Selectors {
  readonly client: ApiClient;
  readonly resource: ApiResource;
  /** Keeps the fields that are used; throws for an object that cannot be used, which is reported, counted and skipped. */
  readonly trim: (object: ApiObject) => T;
  /** Called with one thing at a time; the next request or event waits for it. */
  readonly onNews?: (news: ReflectorNews<T>, state: ReflectorState) => Effect.Effect<void>;
  /** The number of objects per page of a list; 0 asks for everything at once. */
  readonly pageSize?: number | undefined;
  /**
   * `latest` (the default) asks the server's storage, page by page, for what is true at that moment. `cached` takes what
   * the server has in memory, in one piece and at least as new as what is known here. That may be stale at the first list,
   * but it is cheap for the server when many nodes ask for a few objects of very many.
   */
  readonly lists?: 'latest' | 'cached';
  /** How long one watch is to last, in seconds, less up to a tenth at random. */
  readonly watchSeconds?: number | undefined;
  /** A watch that receives nothing for this long, in milliseconds, is taken for dead. Servers send a bookmark every minute. */
  readonly silenceMs?: number | undefined;
  readonly backOff?: BackOff | undefined;
}

/** The state at this moment; the same object changes later. */
export interface ReflectorState {
  /** A list was taken in completely. Stays true, because what is known stays in use. */
  readonly synced: boolean;
  /** A watch is open. */
  readonly connected: boolean;
  /** When the server last sent something that was understood, in ms since the epoch. */
  readonly lastContactMs: number | undefined;
  readonly resourceVersion: string | undefined;
  /** Failures in a row, since a watch was last of use. */
  readonly failures: number;
  /** Why there is no watch, or undefined if there is one. */
  readonly lastError: ApiError | undefined;
}

export interface ReflectorCounters {
  readonly lists: number;
  readonly watches: number;
  readonly events: number;
  /** Events about what was known already. */
  readonly duplicates: number;
  /** Objects without an identity, or that `trim` refused. */
  readonly badObjects: number;
  /** By `ApiError.reason`. */
  readonly failures: ReadonlyMap<string, number>;
}

export type ReflectorNews<T> =
  /** How one event or list changed `objects`, which is up to date by then. */
  | { readonly kind: 'changes'; readonly changes: readonly Change<T>[] }
  /** An object that `trim` refused; what was known of it stays. */
  | { readonly kind: 'unusable'; readonly error: unknown }
  /** A request failed; the next one follows after `retryInMs` milliseconds. */
  | { readonly kind: 'problem'; readonly error: ApiError; readonly retryInMs: number }
  /** The server answers again, after a problem. */
  | { readonly kind: 'resumed' };

export interface Reflector<T> {
  /** What is known now, by UID. */
  readonly objects: Pick<ObjectCache<T>, 'get' | 'has' | 'size' | typeof Symbol.iterator>;
  readonly state: ReflectorState;
  readonly counters: ReflectorCounters;
  /** Waits for the first complete list. */
  readonly synced: Effect.Effect<void>;
}

/** A watch that lasted this long was a good one, in milliseconds, even if it had no events. */
const GOOD_WATCH_MS = 5000;
/** After this many watches in a row that opened and sent nothing of use, the revision is doubted and a list is made. */
const BARREN_WATCHES = 3;

/** Starts at once. What is known at the end of the scope stays readable. */
export const reflect = <T>(options: ReflectorOptions<T>): Effect.Effect<Reflector<T>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { client, resource, pageSize = 500, lists = 'latest', watchSeconds = 290, silenceMs = 120_000 } = options;
    const { backOff = defaultBackOff, onNews, fieldSelector, labelSelector } = options;
    const selectors = { fieldSelector, labelSelector };
    const cache = new ObjectCache(options.trim);
    const synced = yield* Deferred.make<void>();
    const failures = new Map<string, number>();
    const counters = { lists: 0, watches: 0, events: 0, duplicates: 0, badObjects: 0, failures };
    const state: Mutable<ReflectorState> = {
      synced: false,
      connected: false,
      lastContactMs: undefined,
      resourceVersion: undefined,
      failures: 0,
      lastError: undefined,
    };
    /** The revision from which the next watch starts, or undefined if a list is needed. */
    let position: string | undefined;
    /** The server may not have the revision, so the next list asks for none. */
    let isDoubted = false;
    /** Watches in a row that opened and have not been of use. */
    let barren = 0;

    const wasOfUse = (): void => {
      state.failures = 0;
      barren = 0;
    };
    const moveTo = (revision: string): void => {
      position = revision;
      state.resourceVersion = revision;
    };
    const heard = Effect.map(Clock.currentTimeMillis, (now) => void (state.lastContactMs = now));
    const tell = (news: ReflectorNews<T>): Effect.Effect<void> => onNews?.(news, state) ?? Effect.void;
    const tellChanges = (changes: readonly Change<T>[]): Effect.Effect<void> =>
      changes.length > 0 ? tell({ kind: 'changes', changes }) : Effect.void;
    const isUnusable = (error: unknown): Effect.Effect<void> => {
      counters.badObjects += 1;
      return tell({ kind: 'unusable', error });
    };

    const takeAll = Effect.gen(function* () {
      counters.lists += 1;
      let listed: Listed<T> = { entries: new Map(), unreadable: new Set() };
      const notOlderThan = lists === 'cached' && !isDoubted ? (state.resourceVersion ?? '0') : undefined;
      const onPage = Effect.fnUntraced(function* (items: readonly unknown[]) {
        yield* heard;
        for (const item of items) {
          const object = asObject(item, resource);
          if (object === undefined) {
            counters.badObjects += 1;
            continue;
          }
          const { uid } = object.metadata;
          try {
            listed.entries.set(uid, cache.entry(object));
          } catch (error) {
            listed.unreadable.add(uid);
            yield* isUnusable(error);
          }
        }
      });
      const restart = (): void => {
        listed = { entries: new Map(), unreadable: new Set() };
      };
      moveTo(yield* list(client, resource, { ...selectors, pageSize, notOlderThan }, { onPage, restart }));
      const changes = cache.replace(listed);
      isDoubted = false;
      // The last error is over: the server has just sent everything.
      state.lastError = undefined;
      state.synced = true;
      yield* tellChanges(changes);
      yield* Deferred.succeed(synced, undefined);
    });

    const take = Effect.fnUntraced(function* ({ type, object: raw }: WatchEvent) {
      counters.events += 1;
      yield* heard;
      const revision = revisionOf(raw);
      if (type === 'BOOKMARK') {
        if (revision === undefined) return;
        if (revision !== position && isNotAfter(revision, position)) {
          // The server was set back, and only a list can show what it has now.
          position = undefined;
          const message = `the server is at revision ${revision}, behind an earlier one`;
          return yield* new ApiError(`WATCH ${resource.path}`, { reason: 'SetBack', message });
        }
        moveTo(revision);
        return wasOfUse();
      }
      const isOld = isNotAfter(revision, position);
      if (revision !== undefined && !isOld) moveTo(revision);
      const object = asObject(raw, resource);
      if (object === undefined) {
        counters.badObjects += 1;
        return;
      }
      const { uid } = object.metadata;
      if (isOld && (type !== 'DELETED' || !cache.has(uid))) {
        counters.duplicates += 1;
        return;
      }
      let changes: Change<T>[];
      try {
        changes = type === 'DELETED' ? cache.delete(uid, revision) : cache.put(object);
      } catch (error) {
        return yield* isUnusable(error);
      }
      wasOfUse();
      yield* tellChanges(changes);
    });

    /** Succeeds when the server has ended a watch that lasted. */
    const follow = Effect.gen(function* () {
      counters.watches += 1;
      const events = yield* watch(client, resource, {
        ...selectors,
        resourceVersion: position,
        timeoutSeconds: Math.max(1, Math.round(watchSeconds * (1 - Math.random() / 10))),
        silenceMs,
      });
      yield* Effect.addFinalizer(() => Effect.sync(() => void (state.connected = false)));
      state.connected = true;
      state.lastError = undefined;
      yield* heard;
      barren += 1;
      if (state.failures > 0) yield* tell({ kind: 'resumed' });
      const [lasted] = yield* Effect.timed(Stream.runForEach(events, take));
      if (Duration.toMillis(lasted) > GOOD_WATCH_MS) return wasOfUse();
      // A watch that was so short is not started again at once, even if it was of use.
      const message = 'the watch ended as soon as it started';
      return yield* new ApiError(`WATCH ${resource.path}`, { reason: 'Ended', message });
    }).pipe(Effect.scoped);

    const count = ({ reason }: ApiError): void => void failures.set(reason, (failures.get(reason) ?? 0) + 1);

    /** Decides what comes next, and waits until then. */
    const leaveAlone = Effect.fnUntraced(function* (error: ApiError) {
      state.failures += 1;
      state.lastError = error;
      count(error);
      // A list may fail because the server has not reached the revision, or never will (504).
      if (!error.isExpired && (position === undefined || barren >= BARREN_WATCHES)) isDoubted = true;
      if (error.isExpired || isDoubted) position = undefined;
      if (position === undefined) barren = 0;
      const retryInMs = backOffMs(backOff, state.failures, error.retryAfterMs);
      // Nobody is left who could be told of a mistake here. It is counted, and must not be the end.
      yield* Effect.suspend(() => tell({ kind: 'problem', error, retryInMs })).pipe(
        Effect.catchDefect((cause) => Effect.sync(() => count(mistake(cause)))),
      );
      yield* Effect.sleep(retryInMs);
    });

    yield* Effect.suspend(() => (position === undefined ? takeAll : Effect.void)).pipe(
      Effect.andThen(follow),
      // A mistake in our own code is handled like any other failure.
      Effect.catchDefect((cause) => Effect.fail(mistake(cause))),
      Effect.catch(leaveAlone),
      Effect.forever,
      Effect.forkScoped,
    );
    return { objects: cache, state, counters, synced: Deferred.await(synced) };
  });

const mistake = (cause: unknown): ApiError =>
  new ApiError('reflector', { reason: 'Internal', message: String(cause), cause });

function revisionOf(raw: unknown): string | undefined {
  const metadata = isRecord(raw) ? raw['metadata'] : undefined;
  const revision = isRecord(metadata) ? metadata['resourceVersion'] : undefined;
  return typeof revision === 'string' && revision !== '' ? revision : undefined;
}
