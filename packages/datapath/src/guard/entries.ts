// A map that nobody else writes, as a whole.
import { BpfError, type BpfMap } from '@sluice/libbpf';

export class Entries<Key, Value> {
  readonly #map: BpfMap;
  readonly #encode: (key: Key, value: Value) => readonly [key: Buffer, value: Buffer];

  constructor(map: BpfMap, encode: (key: Key, value: Value) => readonly [key: Buffer, value: Buffer]) {
    this.#map = map;
    this.#encode = encode;
  }

  /** Exactly these entries are in the map from now on, new ones before old ones go. Returns the keys for which there is no room. */
  set(entries: Iterable<readonly [Key, Value]>): Key[] {
    const wanted = new Map(
      [...entries].map(([key, value]) => {
        const [bytes, encoded] = this.#encode(key, value);
        return [bytes.toString('hex'), { key, bytes, value: encoded }] as const;
      }),
    );
    const present = new Map([...this.#map.entries()].map(([key, value]) => [key.toString('hex'), value]));
    const others = [...wanted].filter(([hex, { value }]) => present.get(hex)?.equals(value) !== true);
    const left = others.filter(([, { bytes, value }]) => !addEntry(this.#map, bytes, value));
    for (const hex of present.keys()) if (!wanted.has(hex)) this.#map.delete(Buffer.from(hex, 'hex'));
    return left.filter(([, { bytes, value }]) => !addEntry(this.#map, bytes, value)).map(([, { key }]) => key);
  }
}

/** False if there is no room for it. */
export function addEntry(map: BpfMap, key: Buffer, value: Buffer): boolean {
  try {
    map.update(key, value);
    return true;
  } catch (error) {
    if (error instanceof BpfError && error.code === 'E2BIG') return false;
    throw error;
  }
}
