// A whole collection, page by page, of one revision.
import type { ApiClient, Query } from './api-client.js';
import { ApiError } from './api-error.js';
import { isRecord, type ApiResource } from './resource.js';

export interface ListOptions {
  readonly fieldSelector?: string;
  readonly labelSelector?: string;
  /** Objects a page; 0 asks for everything at once. */
  readonly pageSize: number;
  /** Instead of the latest, anything that is not older than this revision (`0`: anything), in one piece. */
  readonly notOlderThan?: string;
  readonly signal?: AbortSignal;
}

/**
 * Calls `onPage` for each page and returns the revision that all of them show. When the server forgets that revision on
 * the way (410), `restart` is called and the list starts again, in one piece: the rest that the server offers then would
 * be of another revision.
 */
export async function list(
  client: ApiClient,
  resource: ApiResource,
  options: ListOptions,
  sink: { onPage(items: readonly unknown[]): void; restart(): void },
): Promise<string> {
  const { fieldSelector, labelSelector, signal } = options;
  const page = async (query: Query): Promise<{ revision: string; next: string | undefined }> => {
    const body = await client.request({
      method: 'GET',
      path: resource.path,
      query: { fieldSelector, labelSelector, ...query },
      ...(signal && { signal }),
    });
    const metadata = isRecord(body) && isRecord(body['metadata']) ? body['metadata'] : {};
    const items = isRecord(body) ? body['items'] : undefined;
    const { resourceVersion, continue: next } = metadata;
    if (typeof resourceVersion !== 'string' || resourceVersion === '' || !(Array.isArray(items) || items === null))
      throw new ApiError(`GET ${resource.path}`, { reason: 'Garbled', message: 'the answer is not a list' });
    sink.onPage(items ?? []);
    return { revision: resourceVersion, next: typeof next === 'string' && next !== '' ? next : undefined };
  };
  if (options.notOlderThan !== undefined) return (await page({ resourceVersion: options.notOlderThan })).revision;
  let { revision, next } = await page(options.pageSize > 0 ? { limit: options.pageSize } : {});
  while (next !== undefined) {
    try {
      ({ revision, next } = await page({ limit: options.pageSize, continue: next }));
    } catch (error) {
      if (!(error instanceof ApiError && error.isExpired)) throw error;
      sink.restart();
      return (await page({})).revision;
    }
  }
  return revision;
}
