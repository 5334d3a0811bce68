// A map of which its owner knows what it ought to hold: it is written as a whole or entry by entry, and what somebody else deletes from it,
// changes in it or adds to it is noticed and can be put right. What the kernel holds is asked, and what ought to be there is remembered.
import { BpfError, type BpfMap } from '@sluice/libbpf';
import type { EntryTable } from './entries.js';

/**
 * A trie is walked by key, which takes the kernel half a microsecond for each, four times as long as an entry of a hash. One that has
 * more entries and was right is not read in every look, so that a look costs two milliseconds on average, however many there are.
 */
const TRIE_ENTRIES_A_LOOK = 4096;

export class KeptMap {
  readonly #map: BpfMap;
  /** Undefined until somebody has said it: whatever is there is right. */
  #wanted: EntryTable | undefined;
  /** What the kernel held when it was exactly what is wanted. */
  #right: Buffer | undefined;
  /** Since it was read. */
  #looks = 0;

  constructor(map: BpfMap) {
    this.#map = map;
  }

  /** Exactly these entries are in the map, or are about to be written by somebody else. */
  expect(wanted: EntryTable): void {
    if (this.#wanted === undefined || !isSame(this.#wanted, wanted)) this.#right = undefined;
    this.#wanted = wanted;
  }

  /** Writes one entry. Throws BpfError when the map is full (E2BIG). */
  put(key: Buffer, value: Buffer): void {
    this.#map.update(key, value);
    (this.#wanted ??= new Map()).set(key.toString('hex'), { key, value });
    this.#right = undefined;
  }

  remove(key: Buffer): void {
    // This comes first: if the entry cannot be deleted, the map is not right any more, although it has not changed.
    this.#right = undefined;
    this.#wanted?.delete(key.toString('hex'));
    this.#map.delete(key);
  }

  /**
   * Exactly these entries are in the map from now on, new ones before old ones go. Returns the keys for which there is no room, in
   * hexadecimal; they are not expected.
   */
  set(wanted: EntryTable): string[] {
    this.expect(new Map(wanted));
    return this.putRight();
  }

  /** Writes again what is not as it ought to be. Returns what {@link set} returns. */
  putRight(): string[] {
    const wanted = this.#wanted;
    if (wanted === undefined || this.#isRight()) return [];
    const present = readTable(this.#map);
    const others = [...wanted].filter(([id, { value }]) => present.get(id)?.value.equals(value) !== true);
    const left = others.filter(([, { key, value }]) => !addEntry(this.#map, key, value));
    for (const [id, { key }] of present) if (!wanted.has(id)) deleteEntry(this.#map, key);
    const without = left.filter(([, { key, value }]) => !addEntry(this.#map, key, value)).map(([id]) => id);
    for (const id of without) wanted.delete(id);
    return without;
  }

  /**
   * What is not as it ought to be, as a clause without a subject; undefined if all is. Of a trie with n entries it may be seen only by the n/4096th
   * look.
   */
  difference(): string | undefined {
    const wanted = this.#wanted;
    if (wanted === undefined || this.#isLeftOut(wanted.size) || this.#isRight()) return undefined;
    const snapshot = this.#map.snapshot();
    const present = readTable(this.#map);
    let [lacking, changed, added] = [0, 0, 0];
    for (const [id, { value }] of wanted) {
      const there = present.get(id);
      if (there === undefined) lacking += 1;
      else if (!there.value.equals(value)) changed += 1;
    }
    for (const id of present.keys()) if (!wanted.has(id)) added += 1;
    if (lacking + changed + added === 0) {
      if (this.#map.snapshot().equals(snapshot)) this.#right = snapshot;
      return undefined;
    }
    this.#right = undefined;
    const parts = [
      [lacking, 'missing'],
      [changed, 'changed'],
      [added, 'added'],
    ] as const;
    return parts.flatMap(([count, what]) => (count === 0 ? [] : [`${count} ${what}`])).join(', ');
  }

  /** Whether this look is not to read the map. */
  #isLeftOut(entries: number): boolean {
    if (this.#right === undefined || this.#map.type !== 'lpm_trie') return false;
    this.#looks = (this.#looks + 1) % Math.max(1, Math.ceil(entries / TRIE_ENTRIES_A_LOOK));
    return this.#looks !== 0;
  }

  #isRight(): boolean {
    return this.#right !== undefined && this.#map.snapshot().equals(this.#right);
  }
}

const isSame = (a: EntryTable, b: EntryTable): boolean =>
  a.size === b.size && [...a].every(([id, { value }]) => b.get(id)?.value.equals(value) === true);

export function readTable(map: BpfMap): EntryTable {
  const table: EntryTable = new Map();
  for (const [key, value] of map.entries()) table.set(key.toString('hex'), { key, value });
  return table;
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

/** An element of an array stays. */
function deleteEntry(map: BpfMap, key: Buffer): void {
  if (map.type !== 'array') map.delete(key);
}
