// Create, patch and delete, with the few rules of the real strategies that a client can run into.
import * as Schema from 'effect/Schema';
import { keyOf, type ObjectStore } from './object-store.js';
import { memberOf, mergePatch } from './merge-patch.js';
import { isApiObject, resourceOf, type ApiObject, type ObjectTemplate, type Target } from './resources.js';
import { badRequest, conflict, invalid, MODIFIED, notFound, Refusal } from './status.js';
import { atRevision } from './watch-stream.js';

const NO_OBJECT = 'json: cannot unmarshal into Go struct field ObjectMeta.metadata';

type Body = Readonly<Record<string, unknown>>;

const text = Schema.optionalKey(Schema.String);
const CreatedAs = Schema.Struct({ name: text, generateName: text, namespace: text });
const isCreation = Schema.is(Schema.Struct({ metadata: Schema.optionalKey(CreatedAs) }));

export function create(store: ObjectStore, target: Target, body: Body): ApiObject {
  const { resource, namespace } = target;
  if (
    resource.namespaced &&
    (namespace === undefined || store.get(resourceOf('Namespace'), undefined, namespace) === undefined)
  )
    throw new Refusal(notFound(resourceOf('Namespace'), namespace ?? ''));
  if (!isCreation(body)) throw new Refusal(badRequest(NO_OBJECT));
  const { metadata } = body;
  const name =
    metadata?.name ?? (metadata?.generateName === undefined ? undefined : `${metadata.generateName}${suffix()}`);
  if (name === undefined || name === '')
    throw new Refusal(invalid(resource, '', 'metadata.name', 'Required value: name or generateName is required'));
  if (metadata?.namespace !== undefined && metadata.namespace !== namespace)
    throw new Refusal(
      badRequest('the namespace of the provided object does not match the namespace sent on the request'),
    );
  const template: ObjectTemplate = {
    ...body,
    // The server sets the status of a new object (pod/strategy.go, PrepareForCreate).
    ...(resource.hasStatus && {
      status: resource.plural === 'namespaces' ? { phase: 'Active' } : { phase: 'Pending' },
    }),
    metadata: { ...metadata, name, uid: undefined, ...(namespace !== undefined && { namespace }) },
  };
  return store.create(resource, template);
}

/** @throws Refusal 400 if the result would not be an object */
export function patched(before: ApiObject, body: unknown): ApiObject {
  const after = mergePatch(before, body);
  if (!isApiObject(after)) throw new Refusal(badRequest(NO_OBJECT));
  return after;
}

/** A main resource keeps its `status`; a subresource keeps everything but `status` and metadata. */
export function patch(store: ObjectStore, target: Target & { name: string }, body: Body): ApiObject {
  const { resource, name, namespace, subresource } = target;
  const before = store.get(resource, namespace, name);
  if (before === undefined) throw new Refusal(notFound(resource, name));
  const wanted = patched(before, body);
  const { metadata } = wanted;
  if (metadata.uid !== before.metadata.uid)
    throw new Refusal(
      conflict(
        resource,
        name,
        `Precondition failed: UID in precondition: ${metadata.uid}, UID in object meta: ${before.metadata.uid}`,
      ),
    );
  if (metadata.resourceVersion !== before.metadata.resourceVersion)
    throw new Refusal(conflict(resource, name, MODIFIED));
  if (keyOf(metadata.namespace, metadata.name) !== keyOf(namespace, name))
    throw new Refusal(badRequest('the name of the object does not match the name on the URL'));
  const after =
    subresource === 'status'
      ? { ...before, metadata, status: wanted['status'] }
      : { ...wanted, ...(resource.hasStatus && { status: before['status'] }) };
  return store.update(resource, before, after);
}

/** A pod on a node ends gracefully: it is marked, and the kubelet deletes it later with a grace period of 0. */
export function remove(
  store: ObjectStore,
  target: Target & { name: string },
  body: Body,
  query: URLSearchParams,
): ApiObject {
  const { resource, name, namespace } = target;
  const before = store.get(resource, namespace, name);
  if (before === undefined) throw new Refusal(notFound(resource, name));
  const wanted = memberOf(body['preconditions'], 'uid');
  if (typeof wanted === 'string' && wanted !== before.metadata.uid)
    throw new Refusal(
      conflict(
        resource,
        name,
        `Precondition failed: UID in precondition: ${wanted}, UID in object meta: ${before.metadata.uid}`,
      ),
    );
  const grace = Number(body['gracePeriodSeconds'] ?? query.get('gracePeriodSeconds') ?? 30);
  const onNode = resource.plural === 'pods' && memberOf(before['spec'], 'nodeName') !== undefined;
  if (grace > 0 && onNode) {
    if (before.metadata['deletionTimestamp'] !== undefined) return before;
    const deletionTimestamp = new Date(Date.now() + grace * 1000).toISOString().replace(/\.\d+Z$/, 'Z');
    return store.update(resource, before, {
      ...before,
      metadata: { ...before.metadata, deletionTimestamp, deletionGracePeriodSeconds: grace },
    });
  }
  const last = store.delete(resource, namespace, name);
  return atRevision(last, store.revision);
}

/** Five characters of the alphabet of apimachinery/pkg/util/rand. */
function suffix(): string {
  const alphabet = 'bcdfghjklmnpqrstvwxz2456789';
  return Array.from({ length: 5 }, () => alphabet[Math.floor(Math.random() * alphabet.length)]).join('');
}
