// A map of which only the keys count, and which nobody else writes.
import { BpfError, type BpfMap } from '@sluice/libbpf';

export class KeySet<Key> {
  readonly #map: BpfMap;
  readonly #encode: (key: Key) => Buffer;

  constructor(map: BpfMap, encode: (key: Key) => Buffer) {
    this.#map = map;
    this.#encode = encode;
  }

  /** Exactly these keys are in the map from now on, new ones before old ones go. Returns those for which there is no room. */
  set(keys: Iterable<Key>): Key[] {
    const wanted = new Map([...keys].map((key) => [this.#encode(key).toString('hex'), key]));
    const present = new Set([...this.#map.keys()].map((bytes) => bytes.toString('hex')));
    const missing = [...wanted].filter(([hex]) => !present.has(hex));
    const left = missing.filter(([hex]) => !this.#add(hex));
    for (const hex of present) if (!wanted.has(hex)) this.#map.delete(Buffer.from(hex, 'hex'));
    return left.filter(([hex]) => !this.#add(hex)).map(([, key]) => key);
  }

  #add(hex: string): boolean {
    try {
      this.#map.update(Buffer.from(hex, 'hex'), Buffer.from([1]));
      return true;
    } catch (error) {
      if (error instanceof BpfError && error.code === 'E2BIG') return false;
      throw error;
    }
  }
}
