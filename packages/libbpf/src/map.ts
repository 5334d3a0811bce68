// BpfMap: one map; single elements, iteration, batches, pins.
import { native } from './native.js';
import { attempt } from './error.js';
import type { CallFailure } from './error.js';
import { Descriptor } from './descriptor.js';
import { mapTypeName } from './names.js';
import { mapFacts } from './info.js';
import type { MapInfo } from './info.js';
import { openPin, pinAt, unpinAt } from './pin.js';
import { updateBatch } from './map-batch.js';
import { entriesOf, keysOf, snapshotOf } from './map-iteration.js';
import { valueBytes } from './per-cpu.js';
import { TypedMap } from './typed-map.js';
import type { MapCodec } from './typed-map.js';

/** 'any' = BPF_ANY, 'create' = BPF_NOEXIST, 'exist' = BPF_EXIST of linux/bpf.h. */
export type UpdateMode = 'any' | 'create' | 'exist';

export const UPDATE_FLAGS: Readonly<Record<UpdateMode, number>> = { any: 0, create: 1, exist: 2 };

/**
 * A map in the kernel. Keys and values are the C structures' bytes, in the machine's order; generated codecs
 * (generateCodecs) give them types. A per-CPU map's value is one value for each possible CPU, each rounded up to 8
 * bytes, one after the other (see splitPerCpu).
 */
export class BpfMap {
  /** The name in C for a map of an object; the kernel's own, cut to 15 characters, for one opened by pin or id. */
  readonly name: string;
  /** 'hash' */
  readonly type: string;
  readonly keySize: number;
  /** Bytes of one value (of one CPU's value in a per-CPU map). */
  readonly valueSize: number;
  /** Bytes that lookup gives and update takes: valueSize, or more in a per-CPU map. */
  readonly valueBytes: number;
  readonly maxEntries: number;
  /** BPF_F_... of linux/bpf.h. */
  readonly flags: number;
  readonly id: number;
  readonly #descriptor: Descriptor;
  #pin: string | undefined;

  /** For this package: takes over a descriptor. */
  constructor(fd: number, name?: string, pin?: string) {
    this.#descriptor = new Descriptor(fd, `map '${name ?? pin ?? fd}'`);
    const facts = attempt(`read map '${name ?? pin ?? fd}'`, () => native.mapInfo(fd));
    this.name = name ?? facts.name;
    this.type = mapTypeName(facts.type);
    this.keySize = facts.keySize;
    this.valueSize = facts.valueSize;
    this.valueBytes = valueBytes(this.type, facts.valueSize);
    this.maxEntries = facts.maxEntries;
    this.flags = facts.flags;
    this.id = facts.id;
    this.#pin = pin;
  }

  /** Opens a map by its pin. */
  static openPinned(path: string): BpfMap {
    return new BpfMap(openPin(path, 'map'), undefined, path);
  }

  /** Opens a map by its id; needs CAP_SYS_ADMIN. */
  static openId(id: number): BpfMap {
    return new BpfMap(attempt(`open map ${id}`, () => native.mapFdById(id)));
  }

  get fd(): number {
    return this.#descriptor.number;
  }

  info(): MapInfo {
    return attempt(`read map '${this.name}'`, () => mapFacts(native.mapInfo(this.fd)));
  }

  lookup(key: Uint8Array): Buffer | undefined {
    return attempt(
      `look up in map '${this.name}'`,
      () => native.mapLookup(this.fd, key, this.keySize, this.valueBytes),
      (failure) => this.#explain(failure),
    );
  }

  /** E2BIG when the map is full; EEXIST and ENOENT by the mode 'create' and 'exist'. */
  update(key: Uint8Array, value: Uint8Array, mode: UpdateMode = 'any'): void {
    attempt(
      `write to map '${this.name}'`,
      () => native.mapUpdate(this.fd, key, this.keySize, value, this.valueBytes, UPDATE_FLAGS[mode]),
      (failure) => this.#explain(failure),
    );
  }

  /** Nobody writes it by system calls any more (EPERM), as long as it exists; programs do as before. EPERM: that has been done already. */
  freeze(): void {
    attempt(`freeze map '${this.name}'`, () => native.mapFreeze(this.fd));
  }

  /** Whether there was such a key. Elements of arrays cannot be deleted (EINVAL). */
  delete(key: Uint8Array): boolean {
    return attempt(
      `delete from map '${this.name}'`,
      () => native.mapDelete(this.fd, key, this.keySize),
      (failure) => this.#explain(failure),
    );
  }

  /**
   * Every element, each key at most once. Elements that are written or deleted meanwhile may or may not be included.
   * Elements that exist from beginning to end are included for hashes, arrays and LPM tries, whatever else changes.
   */
  entries(): IterableIterator<[Buffer, Buffer]> {
    return entriesOf(this);
  }

  /** Every key, each at most once; with the guarantees of entries(). */
  keys(): IterableIterator<Buffer> {
    return keysOf(this);
  }

  /**
   * All keys and values as bytes, for a cheap look whether anything has changed: two snapshots are equal if nobody has written the map in
   * between, and only if it held the same at both.
   */
  snapshot(): Buffer {
    return snapshotOf(this);
  }

  /**
   * Writes many elements; `keys` and `values` are back to back. Returns how many were written, which is all of them. If one is
   * refused, those before it stay written, and the error's `completed` counts them.
   */
  updateBatch(
    keys: Uint8Array,
    values: Uint8Array,
    count = keys.length / this.keySize,
    mode: UpdateMode = 'any',
  ): number {
    return updateBatch(this, keys, values, count, UPDATE_FLAGS[mode], (failure) => this.#explain(failure));
  }

  /** This map with typed keys and values; RangeError if the codec has another layout than the map. */
  typed<K, V>(codec: MapCodec<K, V>): TypedMap<K, V> {
    return new TypedMap(this, codec);
  }

  /** Pins it in a bpffs, so that it outlives the process. */
  pin(path: string): void {
    pinAt(this.fd, path, `map '${this.name}'`);
    this.#pin = path;
  }

  unpin(): void {
    if (this.#pin !== undefined) unpinAt(this.#pin, `map '${this.name}'`);
    this.#pin = undefined;
  }

  close(): void {
    this.#descriptor.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #explain(failure: CallFailure): string | undefined {
    switch (failure.code) {
      case 'E2BIG':
        // An array answers so to an index beyond its end, and a hash when it holds max_entries.
        return this.type.includes('array')
          ? `the index is beyond its ${this.maxEntries} entries (E2BIG)`
          : `it is full: it holds at most ${this.maxEntries} entries (E2BIG). Delete entries, or create it with a larger maxEntries (openObject's maps option; a pinned map has to be unpinned first)`;
      case 'ENOSPC':
        return `it is full: it holds at most ${this.maxEntries} entries (ENOSPC). Delete entries, or create it with a larger maxEntries (openObject's maps option; a pinned map has to be unpinned first)`;
      case 'EEXIST':
        return 'the key is there already (EEXIST)';
      case 'ENOENT':
        return 'the key is not there (ENOENT)';
      case 'ENOTSUPP':
        return `the kernel does not offer this for maps of type ${this.type} (ENOTSUPP)`;
      default:
        return undefined;
    }
  }
}
