// Lists a whole collection, page by page, at one revision.
import * as Effect from 'effect/Effect';
import type { ApiClient, Query } from './api-client.js';
import { ApiError } from './api-error.js';
import { isRecord, type ApiResource, type Selectors } from './resource.js';

export interface ListOptions extends Selectors {
  /** The number of objects per page; 0 asks for everything at once. */
  readonly pageSize: number;
  /** Instead of the latest, accepts anything that is not older than this revision (`0`: anything), in one piece. */
  readonly notOlderThan: string | undefined;
}

interface Page {
  readonly revision: string;
  readonly next: string | undefined;
}

/**
 * Calls `onPage` for each page and returns the revision of all of them. When the server forgets that revision between two pages
 * (410), this calls `restart` and lists again in one piece, because the remaining pages that the server offers then are at
 * another revision.
 */
export const list = (
  client: ApiClient,
  resource: ApiResource,
  { pageSize, notOlderThan, ...selectors }: ListOptions,
  sink: { onPage(items: readonly unknown[]): Effect.Effect<void>; restart(): void },
): Effect.Effect<string, ApiError> => {
  const page = Effect.fnUntraced(function* (query: Query): Effect.fn.Return<Page, ApiError> {
    const body = yield* client.request({ method: 'GET', path: resource.path, query: { ...selectors, ...query } });
    const metadata = isRecord(body) && isRecord(body['metadata']) ? body['metadata'] : {};
    const items = isRecord(body) ? body['items'] : undefined;
    const { resourceVersion, continue: next } = metadata;
    if (typeof resourceVersion !== 'string' || resourceVersion === '' || !(Array.isArray(items) || items === null))
      return yield* new ApiError(`GET ${resource.path}`, { reason: 'Garbled', message: 'the answer is not a list' });
    yield* sink.onPage(items ?? []);
    return { revision: resourceVersion, next: typeof next === 'string' && next !== '' ? next : undefined };
  });
  const inOnePiece = (query: Query): Effect.Effect<string, ApiError> =>
    Effect.map(page(query), ({ revision }) => revision);
  const rest = ({ revision, next }: Page): Effect.Effect<string, ApiError> =>
    next === undefined ? Effect.succeed(revision) : Effect.flatMap(page({ limit: pageSize, continue: next }), rest);
  if (notOlderThan !== undefined) return inOnePiece({ resourceVersion: notOlderThan });
  return Effect.flatMap(page(pageSize > 0 ? { limit: pageSize } : {}), (first) =>
    Effect.catchIf(
      rest(first),
      ({ isExpired }) => isExpired,
      () =>
        Effect.andThen(
          Effect.sync(() => sink.restart()),
          inOnePiece({}),
        ),
    ),
  );
};
