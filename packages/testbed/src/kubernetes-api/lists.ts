// Lists: selectors, pages that all show one revision, and `resourceVersion` as a lower bound.
import * as Option from 'effect/Option';
import * as Schema from 'effect/Schema';
import type { ObjectStore } from './object-store.js';
import { keyOfObject } from './object-store.js';
import { apiVersion, type ApiObject, type Target } from './resources.js';
import { fieldSelector, labelSelector, type Match } from './selectors.js';
import { badRequest, continueExpired, Refusal, tooLargeResourceVersion } from './status.js';

const Continue = Schema.Struct({
  /** The revision; -1 for the inconsistent rest that a 410 offers. */
  rv: Schema.Int,
  /** The key of the last object that was shown. */
  after: Schema.String,
});
type Continue = typeof Continue.Type;
const decodeContinue = Schema.decodeUnknownOption(Schema.fromJsonString(Continue));

/** What a list or a watch selects. */
export function selection(target: Target, query: URLSearchParams): Match {
  const byLabel = labelSelector(query.get('labelSelector') ?? '');
  const byField = fieldSelector(query.get('fieldSelector') ?? '', target.resource);
  return (object) =>
    (target.namespace === undefined || object.metadata.namespace === target.namespace) &&
    byLabel(object) &&
    byField(object);
}

export function list(store: ObjectStore, target: Target, query: URLSearchParams): unknown {
  const matches = selection(target, query);
  const from = parseContinue(query.get('continue'));
  const asked = Number(query.get('resourceVersion') ?? '0');
  if (!Number.isSafeInteger(asked)) throw new Refusal(badRequest('invalid resource version'));
  if (from !== undefined && asked !== 0)
    throw new Refusal(badRequest('specifying resource version is not allowed when using continue'));
  if (asked > store.revision)
    throw new Refusal(tooLargeResourceVersion(String(asked), String(store.revision)), { 'retry-after': '1' });
  const limit = Number(query.get('limit') ?? '0');
  let revision = store.revision;
  if (from !== undefined && from.rv >= 0) {
    if (from.rv < store.compactedTo) throw new Refusal(continueExpired(encode({ rv: -1, after: from.after })));
    revision = from.rv;
  }
  const all = revision === store.revision ? store.list(target.resource) : store.listAt(target.resource, revision);
  const rest = all.filter((object) => matches(object) && (from === undefined || keyOfObject(object) > from.after));
  const shown = limit > 0 ? rest.slice(0, limit) : rest;
  const last = shown.at(-1);
  const remains = rest.length - shown.length;
  return {
    kind: `${target.resource.kind}List`,
    apiVersion: apiVersion(target.resource),
    metadata: {
      resourceVersion: String(revision),
      ...(remains > 0 && last !== undefined && { continue: encode({ rv: revision, after: keyOfObject(last) }) }),
      // etcd cannot count what a selector would leave.
      ...(remains > 0 && !query.has('fieldSelector') && !query.has('labelSelector') && { remainingItemCount: remains }),
    },
    items: shown.map(withoutType),
  };
}

/** The items of a list have neither kind nor apiVersion. */
function withoutType({ kind: _kind, apiVersion: _apiVersion, ...object }: ApiObject): unknown {
  return object;
}

function encode(token: Continue): string {
  return Buffer.from(JSON.stringify(token)).toString('base64url');
}

function parseContinue(text: string | null): Continue | undefined {
  if (text === null || text === '') return undefined;
  const token = decodeContinue(Buffer.from(text, 'base64url').toString());
  if (Option.isNone(token)) throw new Refusal(badRequest('continue key is not valid'));
  return token.value;
}
