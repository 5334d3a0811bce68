// Keeps a copy of one collection of the API server: list, then watch, and again for as long as the scope lasts, whatever
// the server does. docs/decisions/kubernetes-api.md says why it is ours.
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
  /** Keeps the fields that are used; throws for an object that cannot be used, which is told, counted and skipped. */
  readonly trim: (object: ApiObject) => T;
  /** Is told one thing at a time; the next request or event waits for it. */
  readonly onNews?: (news: ReflectorNews<T>, state: ReflectorState) => Effect.Effect<void>;
  /** Objects a page of a list; 0 asks for everything at once. */
  readonly pageSize?: number | undefined;
  /**
   * `latest` (the default) asks the server's storage, page by page, for what is true at that moment. `cached` takes what
   * the server has in memory, in one piece and at least as new as what is known here: stale at the first list, when the
   * server is, but cheap for the server where many nodes ask for a few objects of very many.
   */
  readonly lists?: 'latest' | 'cached';
  /** How long one watch is to last, in seconds; up to a tenth less is drawn at random. */
  readonly watchSeconds?: number | undefined;
  /** A watch on which nothing comes for so long, in milliseconds, is taken for dead. Servers send a bookmark a minute. */
  readonly silenceMs?: number | undefined;
  readonly backOff?: BackOff | undefined;
}

/** Of this moment: it goes on changing. */
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

export type ReflectorNews<T> =
  /** What has become of `objects` by one event or list; `objects` is up to date when it is told. */
  | { readonly kind: 'changes'; readonly changes: readonly Change<T>[] }
  /** An object that `trim` refused; what was known of it stays. */
  | { readonly kind: 'unusable'; readonly error: unknown }
  /** The server is left alone for so long, in milliseconds. */
  | { readonly kind: 'problem'; readonly error: ApiError; readonly retryInMs: number }
  /** The server is heard again, after a problem. */
  | { readonly kind: 'resumed' };

export interface Reflector<T> {
  /** What is known now, by UID. */
  readonly objects: Pick<ObjectCache<T>, 'get' | 'has' | 'size' | typeof Symbol.iterator>;
  readonly state: ReflectorState;
  readonly counters: ReflectorCounters;
  /** Waits for the first whole list. */
  readonly synced: Effect.Effect<void>;
}

/** A watch that lasted so long was a good one, whether or not there was anything to say, in milliseconds. */
const GOOD_WATCH_MS = 5000;
/** After so many watches in a row that opened and said nothing of use, the revision is doubted and a list is taken. */
const BARREN_WATCHES = 3;

/** Begins at once. What is known at the end of the scope stays. */
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
    /** Where the next watch begins; undefined: a list is needed. */
    let position: string | undefined;
    /** The revision may be one that the server does not have: the next list asks for no revision. */
    let isDoubted = false;
    /** Watches in a row that opened and were of no use so far. */
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
      // Of before: the server has just said everything.
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
          // What a server has now that was set back, only a list can tell.
          position = undefined;
          const message = `the server is at revision ${revision}, behind what it said before`;
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
      // Of use or not, one that is so short is not begun again at once.
      const message = 'the watch ended as soon as it began';
      return yield* new ApiError(`WATCH ${resource.path}`, { reason: 'Ended', message });
    }).pipe(Effect.scoped);

    /** Decides what is next, and waits for it. */
    const leaveAlone = Effect.fnUntraced(function* (error: ApiError) {
      state.failures += 1;
      state.lastError = error;
      failures.set(error.reason, (failures.get(error.reason) ?? 0) + 1);
      // A list that failed, such as by 504 for a revision that the server has not reached, or never will.
      if (!error.isExpired && (position === undefined || barren >= BARREN_WATCHES)) isDoubted = true;
      if (error.isExpired || isDoubted) position = undefined;
      if (position === undefined) barren = 0;
      const retryInMs = backOffMs(backOff, state.failures, error.retryAfterMs);
      yield* tell({ kind: 'problem', error, retryInMs });
      yield* Effect.sleep(retryInMs);
    });

    yield* Effect.suspend(() => (position === undefined ? takeAll : Effect.void)).pipe(
      Effect.andThen(follow),
      // A mistake of ours is one more thing that goes wrong.
      Effect.catchDefect((cause) =>
        Effect.fail(new ApiError('reflector', { reason: 'Internal', message: String(cause), cause })),
      ),
      Effect.catch(leaveAlone),
      Effect.forever,
      Effect.forkScoped,
    );
    return { objects: cache, state, counters, synced: Deferred.await(synced) };
  });

function revisionOf(raw: unknown): string | undefined {
  const metadata = isRecord(raw) ? raw['metadata'] : undefined;
  const revision = isRecord(metadata) ? metadata['resourceVersion'] : undefined;
  return typeof revision === 'string' && revision !== '' ? revision : undefined;
}
