// What etcd is for an API server: objects, one revision counter for all of them, and a history that can be compacted.
import { randomUUID } from 'node:crypto';
import { apiVersion, type ApiObject, type ObjectTemplate, type Resource } from './resources.js';
import { alreadyExists, notFound, Refusal } from './status.js';

/** One change. `before` and `after` are the object's whole states, and are never modified. */
export interface Revision {
  readonly revision: number;
  readonly resource: Resource;
  readonly before: ApiObject | undefined;
  readonly after: ApiObject | undefined;
}

export class ObjectStore {
  /** Real servers start somewhere, too; with one digit, comparing numbers as text would go unnoticed. */
  #revision = 90;
  #compactedTo = 90;
  #history: Revision[] = [];
  readonly #objects = new Map<Resource, Map<string, ApiObject>>();
  readonly #listeners = new Set<(revision: Revision) => void>();

  get revision(): number {
    return this.#revision;
  }

  /** Watches and continued lists from before this revision get 410. */
  get compactedTo(): number {
    return this.#compactedTo;
  }

  get(resource: Resource, namespace: string | undefined, name: string): ApiObject | undefined {
    return this.#of(resource).get(keyOf(namespace, name));
  }

  /** In the order of their keys, as in etcd. */
  list(resource: Resource): ApiObject[] {
    return sorted(this.#of(resource));
  }

  /** The state at a revision that is not compacted. */
  listAt(resource: Resource, revision: number): ApiObject[] {
    const past = new Map(this.#of(resource));
    for (const change of this.#history.toReversed()) {
      if (change.revision <= revision) break;
      if (change.resource !== resource) continue;
      const key = keyOfObject(change.after ?? change.before);
      if (change.before === undefined) past.delete(key);
      else past.set(key, change.before);
    }
    return sorted(past);
  }

  /** Sets the server's fields (uid, resourceVersion, creationTimestamp). */
  create(resource: Resource, template: ObjectTemplate): ApiObject {
    const { name, namespace } = template.metadata;
    if (this.get(resource, namespace, name) !== undefined) throw new Refusal(alreadyExists(resource, name));
    const { kind: _kind, apiVersion: _apiVersion, ...rest } = template;
    return this.#commit(resource, undefined, {
      kind: resource.kind,
      apiVersion: apiVersion(resource),
      ...rest,
      metadata: {
        creationTimestamp: new Date().toISOString().replace(/\.\d+Z$/, 'Z'),
        ...template.metadata,
        uid: typeof template.metadata['uid'] === 'string' ? template.metadata['uid'] : randomUUID(),
        resourceVersion: '',
      },
    });
  }

  /** If nothing changes, it does nothing and uses no revision, as in etcd3/store.go. */
  update(resource: Resource, before: ApiObject, after: ApiObject): ApiObject {
    if (
      JSON.stringify({
        ...after,
        metadata: { ...after.metadata, resourceVersion: before.metadata.resourceVersion },
      }) === JSON.stringify(before)
    )
      return before;
    return this.#commit(resource, before, after);
  }

  /** Returns the last state, with the revision of the deletion. */
  delete(resource: Resource, namespace: string | undefined, name: string): ApiObject {
    const before = this.get(resource, namespace, name);
    if (before === undefined) throw new Refusal(notFound(resource, name));
    this.#commit(resource, before, undefined);
    return before;
  }

  /** Forgets the history before the revision (by default all of it). */
  compact(to: number = this.#revision): void {
    this.#compactedTo = Math.max(this.#compactedTo, Math.min(to, this.#revision));
    this.#history = this.#history.filter(({ revision }) => revision > this.#compactedTo);
  }

  /** The changes after a revision that is not compacted. */
  since(revision: number, resource: Resource): Revision[] {
    const start = this.#history.findIndex((change) => change.revision > revision);
    return start < 0 ? [] : this.#history.slice(start).filter((change) => change.resource === resource);
  }

  /** The last changes of a resource that are still known. */
  last(count: number, resource: Resource): Revision[] {
    return this.#history.filter((change) => change.resource === resource).slice(-count);
  }

  /** Calls the listener for every change from now on, until the returned function is called. */
  listen(listener: (revision: Revision) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #commit(resource: Resource, before: ApiObject | undefined, after: ApiObject): ApiObject;
  #commit(resource: Resource, before: ApiObject, after: undefined): undefined;
  #commit(resource: Resource, before: ApiObject | undefined, after: ApiObject | undefined): ApiObject | undefined {
    this.#revision += 1;
    const stored = after && { ...after, metadata: { ...after.metadata, resourceVersion: String(this.#revision) } };
    const key = keyOfObject(stored ?? before);
    if (stored === undefined) this.#of(resource).delete(key);
    else this.#of(resource).set(key, stored);
    const change: Revision = { revision: this.#revision, resource, before, after: stored };
    this.#history.push(change);
    for (const listener of this.#listeners) listener(change);
    return stored;
  }

  #of(resource: Resource): Map<string, ApiObject> {
    let objects = this.#objects.get(resource);
    if (objects === undefined) {
      objects = new Map();
      this.#objects.set(resource, objects);
    }
    return objects;
  }
}

/** The last part of the object's key in etcd. */
export function keyOf(namespace: string | undefined, name: string): string {
  return namespace === undefined ? name : `${namespace}/${name}`;
}

export function keyOfObject(object: ApiObject | undefined): string {
  return object === undefined ? '' : keyOf(object.metadata.namespace, object.metadata.name);
}

function sorted(objects: Map<string, ApiObject>): ApiObject[] {
  return [...objects].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)).map(([, object]) => object);
}
