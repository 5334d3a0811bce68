// What somebody else does to a map is noticed, and looking for it costs little.
import { openObject, type BpfMap, type BpfObject } from '@sluice/libbpf';
import { requires } from '@sluice/testbed';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { EntryTable } from '../src/entries.js';
import { KeptMap } from '../src/kept-map.js';
import { OBJECT_PATH } from '../src/layout.js';

const need = requires('root', 'bpf');

describe.skipIf(need.skip)(`a map whose owner knows what it ought to hold${need.label}`, () => {
  let object: BpfObject;
  beforeAll(() => {
    object = openObject(OBJECT_PATH);
    object.load();
  });
  afterEach(() => vi.restoreAllMocks());
  afterAll(() => object?.close());

  /** Ranges of one workload, or ports. */
  function keyOf(map: BpfMap, n: number): Buffer {
    const key = Buffer.alloc(map.keySize);
    if (map.type === 'lpm_trie') key.writeUInt32LE(8 * (map.keySize - 4));
    key.writeUInt32LE(n, map.keySize - 4);
    return key;
  }

  function filled(name: string, count: number): { map: BpfMap; kept: KeptMap; entryOf: (n: number) => Buffer } {
    const map = object.map(name);
    const entryOf = (n: number): Buffer => keyOf(map, n);
    const table: EntryTable = new Map(
      Array.from({ length: count }, (_, n) => {
        const key = entryOf(n);
        return [key.toString('hex'), { key, value: Buffer.alloc(map.valueSize, 4) }];
      }),
    );
    const kept = new KeptMap(map);
    expect(kept.set(table)).toEqual([]);
    expect(kept.difference()).toBeUndefined();
    return { map, kept, entryOf };
  }

  /** Of that many calls, those that read the map. */
  function looks({ map, kept }: { map: BpfMap; kept: KeptMap }, calls: number): number {
    const snapshots = vi.spyOn(map, 'snapshot');
    for (let n = 0; n < calls; n++) expect(kept.difference()).toBeUndefined();
    return snapshots.mock.calls.length;
  }

  it.each([
    ['port_rules', 12_000, 12],
    ['excluded_cidrs', 0, 12],
    ['excluded_cidrs', 4096, 12],
    ['excluded_cidrs', 8192, 6],
    ['included_cidrs', 8193, 4],
    ['included_cidrs', 16_384, 3],
  ])('%s with %d entries is read in %d of 12 looks', (name, entries, expected) => {
    expect(looks(filled(name, entries), 12)).toBe(expected);
  });

  it.each([
    ['port_rules', 12_000, 1],
    ['excluded_cidrs', 100, 1],
    ['excluded_cidrs', 12_000, 3],
  ])(
    '%s with %d entries: what is done to it is seen at the latest by %d looks, and until it is right',
    (name, entries, most) => {
      const { map, kept, entryOf } = filled(name, entries);
      const seen = (): (string | undefined)[] => Array.from({ length: most }, () => kept.difference());
      const whatIs = (): string | undefined => seen().at(-1);
      map.update(entryOf(entries), Buffer.alloc(map.valueSize, 4));
      expect(whatIs()).toBe('1 added');
      map.update(entryOf(7), Buffer.alloc(map.valueSize, 6));
      map.delete(entryOf(8));
      for (let n = 0; n < 2 * most; n++) expect(kept.difference()).toBe('1 missing, 1 changed, 1 added');
      expect(kept.putRight()).toEqual([]);
      for (let n = 0; n < 2 * most; n++) expect(kept.difference()).toBeUndefined();
      map.delete(entryOf(9));
      expect(whatIs()).toBe('1 missing');
    },
  );

  it('sees that an entry is still there that could not be deleted', () => {
    const { map, kept, entryOf } = filled('port_rules', 3);
    vi.spyOn(map, 'delete').mockImplementationOnce(() => {
      throw new Error('not now');
    });
    expect(() => kept.remove(entryOf(1))).toThrow('not now');
    expect(kept.difference()).toBe('1 added');
    expect(kept.putRight()).toEqual([]);
    expect(kept.difference()).toBeUndefined();
  });
});
