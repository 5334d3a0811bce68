// A map whose keys and values are TypeScript values, by the codecs that generateCodecs writes.
import type { BpfMap, UpdateMode } from './map.js';
import { isPerCpu, splitPerCpu } from './per-cpu.js';

/** How one map's elements are written and read: a row of the generated `maps` table. */
export interface MapCodec<K, V> {
  readonly keySize: number;
  readonly valueSize: number;
  encodeKey(key: K): Buffer;
  decodeKey(bytes: Buffer): K;
  encodeValue(value: V): Buffer;
  decodeValue(bytes: Buffer): V;
}

/** A view of a map, which does not own it. */
export class TypedMap<K, V> {
  readonly map: BpfMap;
  readonly #codec: MapCodec<K, V>;

  /** RangeError if the sizes of the map in the kernel differ from the codec's: the two come from different builds. */
  constructor(map: BpfMap, codec: MapCodec<K, V>) {
    if (map.keySize !== codec.keySize || map.valueSize !== codec.valueSize) {
      throw new RangeError(
        `map '${map.name}' has keys of ${map.keySize} and values of ${map.valueSize} bytes, ` +
          `its codec ${codec.keySize} and ${codec.valueSize}: map and codec are from different builds of the object`,
      );
    }
    this.map = map;
    this.#codec = codec;
  }

  get(key: K): V | undefined {
    const bytes = this.map.lookup(this.#codec.encodeKey(key));
    return bytes === undefined ? undefined : this.#codec.decodeValue(bytes);
  }

  /** Per-CPU maps: the value of each possible CPU. */
  getPerCpu(key: K): V[] | undefined {
    const bytes = this.map.lookup(this.#codec.encodeKey(key));
    if (bytes === undefined) return undefined;
    if (!isPerCpu(this.map.type)) return [this.#codec.decodeValue(bytes)];
    return splitPerCpu(bytes, this.map.valueSize).map((value) => this.#codec.decodeValue(value));
  }

  set(key: K, value: V, mode: UpdateMode = 'any'): void {
    this.map.update(this.#codec.encodeKey(key), this.#codec.encodeValue(value), mode);
  }

  delete(key: K): boolean {
    return this.map.delete(this.#codec.encodeKey(key));
  }

  *entries(): Generator<[K, V], undefined> {
    for (const [key, value] of this.map.entries()) yield [this.#codec.decodeKey(key), this.#codec.decodeValue(value)];
  }
}
