// A map that nobody else writes, as a whole, in words instead of bytes.
import type { KeptMap } from '../kept-map.js';

export class Entries<Key, Value> {
  readonly #map: KeptMap;
  readonly #encode: (key: Key, value: Value) => readonly [key: Buffer, value: Buffer];

  constructor(map: KeptMap, encode: (key: Key, value: Value) => readonly [key: Buffer, value: Buffer]) {
    this.#map = map;
    this.#encode = encode;
  }

  /** Exactly these entries are in the map from now on, new ones before old ones go. Returns the keys for which there is no room. */
  set(entries: Iterable<readonly [Key, Value]>): Key[] {
    const wanted = new Map(
      [...entries].map(([key, value]) => {
        const [bytes, encoded] = this.#encode(key, value);
        return [bytes.toString('hex'), { of: key, key: bytes, value: encoded }] as const;
      }),
    );
    const left = new Set(this.#map.set(wanted));
    return [...wanted].filter(([id]) => left.has(id)).map(([, { of }]) => of);
  }
}
