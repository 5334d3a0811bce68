// What is known of one collection, by UID: an object that is recreated under its old name is another object.
import { isDeepStrictEqual } from 'node:util';
import { isNotAfter, type ApiObject } from './resource.js';

export type Change<T> =
  | { readonly kind: 'added'; readonly uid: string; readonly object: T }
  | { readonly kind: 'changed'; readonly uid: string; readonly object: T; readonly previous: T }
  | { readonly kind: 'deleted'; readonly uid: string; readonly previous: T };

interface Entry<T> {
  readonly key: string;
  readonly revision: string | undefined;
  readonly object: T;
}

/** A list that is being read. It changes nothing until it is complete. */
export interface Listed<T> {
  readonly entries: Map<string, Entry<T>>;
  /** Objects that exist and could not be read; what was known of them stays. */
  readonly unreadable: Set<string>;
}

export class ObjectCache<T> {
  readonly #trim: (object: ApiObject) => T;
  readonly #entries = new Map<string, Entry<T>>();
  readonly #byKey = new Map<string, string>();

  /** @param trim keeps the fields that are used, and throws for an object that cannot be used */
  constructor(trim: (object: ApiObject) => T) {
    this.#trim = trim;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(uid: string): T | undefined {
    return this.#entries.get(uid)?.object;
  }

  has(uid: string): boolean {
    return this.#entries.has(uid);
  }

  *[Symbol.iterator](): IterableIterator<[uid: string, object: T]> {
    for (const [uid, { object }] of this.#entries) yield [uid, object];
  }

  /** @throws what `trim` throws */
  entry(object: ApiObject): Entry<T> {
    return { key: keyOf(object), revision: object.metadata.resourceVersion, object: this.#trim(object) };
  }

  /** Takes in an object; changes nothing if this revision, or a later one, is known. @throws what `trim` throws */
  put(object: ApiObject): Change<T>[] {
    const { uid } = object.metadata;
    const known = this.#entries.get(uid);
    if (known !== undefined && isNotAfter(object.metadata.resourceVersion, known.revision)) return [];
    const entry = this.entry(object);
    const changes: Change<T>[] = [];
    const namesake = this.#byKey.get(entry.key);
    if (namesake !== undefined && namesake !== uid) changes.push(...this.delete(namesake));
    this.#set(uid, entry);
    if (known === undefined) changes.push({ kind: 'added', uid, object: entry.object });
    else if (!isDeepStrictEqual(known.object, entry.object))
      changes.push({ kind: 'changed', uid, object: entry.object, previous: known.object });
    return changes;
  }

  /** Takes in a deletion at a revision; ignores one that is older than what is known. */
  delete(uid: string, revision?: string): Change<T>[] {
    const known = this.#entries.get(uid);
    if (known === undefined) return [];
    if (revision !== undefined && revision !== known.revision && isNotAfter(revision, known.revision)) return [];
    this.#entries.delete(uid);
    if (this.#byKey.get(known.key) === uid) this.#byKey.delete(known.key);
    return [{ kind: 'deleted', uid, previous: known.object }];
  }

  /** Takes in a complete list as the truth. Deletions come first, so that a name is free before it is used again. */
  replace({ entries, unreadable }: Listed<T>): Change<T>[] {
    const changes: Change<T>[] = [];
    for (const uid of this.#entries.keys())
      if (!entries.has(uid) && !unreadable.has(uid)) changes.push(...this.delete(uid));
    for (const [uid, entry] of entries) {
      const known = this.#entries.get(uid);
      this.#set(uid, entry);
      if (known === undefined) changes.push({ kind: 'added', uid, object: entry.object });
      else if (!isDeepStrictEqual(known.object, entry.object))
        changes.push({ kind: 'changed', uid, object: entry.object, previous: known.object });
    }
    return changes;
  }

  #set(uid: string, entry: Entry<T>): void {
    this.#entries.set(uid, entry);
    this.#byKey.set(entry.key, uid);
  }
}

function keyOf({ metadata }: ApiObject): string {
  return metadata.namespace === undefined ? metadata.name : `${metadata.namespace}/${metadata.name}`;
}
