// What may be told to an API double from outside its process.
import type { User } from './authorization.js';
import type { AnsweredRequest, KubernetesApi, ObjectPlace } from './api-server.js';
import type { Fault, FaultFilter } from './faults.js';
import type { ObjectTemplate } from './object-store.js';
import type { ApiObject } from './resources.js';

/** What is done to every watch under way. */
export type WatchAction = 'bookmark' | 'corrupt' | 'drop' | 'end' | 'garbage' | 'gone' | 'silence' | 'truncate';

const WATCH_ACTIONS: readonly string[] = [
  'bookmark',
  'corrupt',
  'drop',
  'end',
  'garbage',
  'gone',
  'silence',
  'truncate',
];

export type AnsweredCall = Pick<AnsweredRequest, 'user' | 'verb' | 'resource' | 'namespace' | 'name' | 'code'>;

export interface Calls {
  create(kind: string, template: ObjectTemplate): ApiObject;
  patch(kind: string, at: ObjectPlace, body: unknown): ApiObject;
  remove(kind: string, at: ObjectPlace): void;
  /** null when it is not there. */
  get(kind: string, at: ObjectPlace): ApiObject | null;
  list(kind: string): ApiObject[];
  compact(): void;
  allow(token: string, user: User): void;
  revoke(token: string): void;
  /** null withholds bookmarks. */
  bookmarks(everyMs: number | null): void;
  inject(fault: Fault, filter?: FaultFilter): void;
  clearFaults(): void;
  watches(action: WatchAction): void;
  /** Of the latest requests, who asked what and the answer's code. */
  requests(): AnsweredCall[];
  away(): void;
  back(): void;
}

export type CallName = keyof Calls;

export function control(api: KubernetesApi, call: string, given: unknown[]): unknown {
  const calls: { readonly [Name in CallName]: (...given: Parameters<Calls[Name]>) => unknown } = {
    create: (kind, template) => api.create(kind, template),
    patch: (kind, at, body) => api.patch(kind, at, body),
    remove: (kind, at) => api.remove(kind, at),
    get: (kind, at) => api.get(kind, at) ?? null,
    list: (kind) => api.list(kind),
    compact: () => api.compact(),
    allow: (token, user) => api.allow(token, user),
    revoke: (token) => api.revoke(token),
    bookmarks: (everyMs) => {
      api.bookmarkEveryMs = everyMs ?? undefined;
    },
    inject: (fault, filter) => api.faults.inject(fault, filter),
    clearFaults: () => api.faults.clear(),
    watches: (action) => {
      if (!WATCH_ACTIONS.includes(action)) throw new Error(`there is no ${action} of a watch`);
      for (const watch of api.watches) watch[action]();
    },
    requests: () =>
      api.requests.map(({ user, verb, resource, namespace, name, code }) => ({
        user,
        verb,
        resource,
        namespace,
        name,
        code,
      })),
    away: () => api.away(),
    back: () => api.back(),
  };
  if (!Object.hasOwn(calls, call)) throw new Error(`there is no call ${call}`);
  return (calls[call as CallName] as (...given: unknown[]) => unknown)(...given);
}
