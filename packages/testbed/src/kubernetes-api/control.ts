// What an API double accepts from outside its process.
import * as Schema from 'effect/Schema';
import type { KubernetesApi } from './api-server.js';
import { User } from './authorization.js';
import { FaultFilter, SentFault } from './faults.js';
import { ApiObject, ObjectPlace, ObjectTemplate } from './resources.js';

/** What is done to every open watch. */
const WatchAction = Schema.Literals(['bookmark', 'corrupt', 'drop', 'end', 'garbage', 'gone', 'silence', 'truncate']);
export type WatchAction = typeof WatchAction.Type;

const AnsweredCall = Schema.Struct({
  user: Schema.String,
  verb: Schema.String,
  resource: Schema.String,
  namespace: Schema.optional(Schema.String),
  name: Schema.optional(Schema.String),
  code: Schema.Int,
});
export type AnsweredCall = typeof AnsweredCall.Type;

const kind = Schema.String;
const token = Schema.String;
const none = Schema.Tuple([]);
/** JSON has no `undefined`. */
const nothing = Schema.Null;

/** Arguments and answer of each call. */
export const CALLS = {
  create: { given: Schema.Tuple([kind, ObjectTemplate]), answer: ApiObject },
  patch: { given: Schema.Tuple([kind, ObjectPlace, Schema.Unknown]), answer: ApiObject },
  remove: { given: Schema.Tuple([kind, ObjectPlace]), answer: nothing },
  /** null if it does not exist. */
  get: { given: Schema.Tuple([kind, ObjectPlace]), answer: Schema.NullOr(ApiObject) },
  list: { given: Schema.Tuple([kind]), answer: Schema.Array(ApiObject) },
  compact: { given: none, answer: nothing },
  allow: { given: Schema.Tuple([token, User]), answer: nothing },
  revoke: { given: Schema.Tuple([token]), answer: nothing },
  /** null withholds bookmarks. */
  bookmarks: { given: Schema.Tuple([Schema.NullOr(Schema.Finite)]), answer: nothing },
  inject: { given: Schema.Tuple([SentFault, Schema.optionalKey(FaultFilter)]), answer: nothing },
  clearFaults: { given: none, answer: nothing },
  watches: { given: Schema.Tuple([WatchAction]), answer: nothing },
  /** Who asked what in the latest requests, and the codes of the answers. */
  requests: { given: none, answer: Schema.Array(AnsweredCall) },
  away: { given: none, answer: nothing },
  back: { given: none, answer: nothing },
};

export type CallName = keyof typeof CALLS;
export type Given<Name extends CallName> = (typeof CALLS)[Name]['given']['Type'];
export type Answer<Name extends CallName> = (typeof CALLS)[Name]['answer']['Type'];

const isCallName = (name: string): name is CallName => Object.hasOwn(CALLS, name);

const checked =
  <Given>(schema: Schema.Decoder<Given>, perform: (given: Given) => unknown) =>
  (given: unknown): unknown =>
    perform(Schema.decodeUnknownSync(schema)(given));

/** @throws Error for an unknown call, and anything that the call throws */
export function control(api: KubernetesApi, name: string, given: unknown): unknown {
  const calls: Readonly<Record<CallName, (given: unknown) => unknown>> = {
    create: checked(CALLS.create.given, ([kind, template]) => api.create(kind, template)),
    patch: checked(CALLS.patch.given, ([kind, at, body]) => api.patch(kind, at, body)),
    remove: checked(CALLS.remove.given, ([kind, at]) => api.remove(kind, at)),
    get: checked(CALLS.get.given, ([kind, at]) => api.get(kind, at)),
    list: checked(CALLS.list.given, ([kind]) => api.list(kind)),
    compact: checked(CALLS.compact.given, () => api.compact()),
    allow: checked(CALLS.allow.given, ([token, user]) => api.allow(token, user)),
    revoke: checked(CALLS.revoke.given, ([token]) => api.revoke(token)),
    bookmarks: checked(CALLS.bookmarks.given, ([everyMs]) => {
      api.bookmarkEveryMs = everyMs ?? undefined;
    }),
    inject: checked(CALLS.inject.given, ([fault, filter]) => api.faults.inject(fault, filter)),
    clearFaults: checked(CALLS.clearFaults.given, () => api.faults.clear()),
    watches: checked(CALLS.watches.given, ([action]) => {
      for (const watch of api.watches) watch[action]();
    }),
    requests: checked(CALLS.requests.given, () => api.requests),
    away: checked(CALLS.away.given, () => api.away()),
    back: checked(CALLS.back.given, () => api.back()),
  };
  if (!isCallName(name)) throw new Error(`there is no call ${name}`);
  return calls[name](given);
}
