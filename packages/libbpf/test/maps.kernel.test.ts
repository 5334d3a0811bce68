// Maps of every type that Sluice uses, in the real kernel.
import { join } from 'node:path';
import { requires } from '@sluice/testbed';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { BpfError, BpfMap, mapInfo, openObject, possibleCpus, splitPerCpu } from '../src/index.js';
import type { BpfObject } from '../src/index.js';
import { keysOf } from '../src/map-iteration.js';
import { native } from '../src/native.js';
import { objectPath } from './support/objects.js';
import { messageOf, mountBpffs } from './support/places.js';

const need = requires('root', 'bpf');

const ascending = (a: number, b: number): number => a - b;
const u32 = (...numbers: number[]): Buffer => Buffer.from(Uint32Array.from(numbers).buffer);
const u64 = (...numbers: bigint[]): Buffer => Buffer.from(BigUint64Array.from(numbers).buffer);

describe.skipIf(need.skip)(`maps${need.label}`, () => {
  let object: BpfObject;
  const load = (): void => {
    object?.close();
    object = openObject(objectPath('maps'));
    object.load();
  };
  beforeAll(load);
  afterAll(() => object.close());

  it('know what they are', () => {
    const map = object.map('per_cpu');
    expect(map).toMatchObject({
      name: 'per_cpu',
      type: 'percpu_array',
      keySize: 4,
      valueSize: 4,
      maxEntries: 3,
      flags: 0,
    });
    expect(map.valueBytes).toBe(8 * possibleCpus());
    expect(mapInfo(map.id)).toEqual(map.info());
    expect(object.map('sockets').type).toBe('sk_storage');
    expect(object.map('listeners').type).toBe('sockhash');
    using same = BpfMap.openId(map.id);
    expect(same.id).toBe(map.id);
    expect(messageOf(() => object.map('nowhere'))).toContain("has no map 'nowhere'; it has records");
  });

  it('a snapshot tells whether anything has changed', () => {
    load();
    const map = object.map('small_hash');
    const empty = map.snapshot();
    map.update(u64(1n), u32(1));
    const one = map.snapshot();
    expect(one.equals(empty)).toBe(false);
    expect(map.snapshot().equals(one)).toBe(true);
    map.update(u64(1n), u32(2));
    expect(map.snapshot().equals(one)).toBe(false);
    map.delete(u64(1n));
    expect(map.snapshot().equals(empty)).toBe(true);
  });

  it('a hash stores, replaces, refuses by mode, and deletes', () => {
    load();
    const map = object.map('small_hash');
    const key = u64(2n ** 63n);
    expect(map.lookup(key)).toBeUndefined();
    expect(messageOf(() => map.update(key, u32(1), 'exist'))).toContain('the key is not there (ENOENT)');
    map.update(key, u32(1), 'create');
    expect(messageOf(() => map.update(key, u32(2), 'create'))).toContain('the key is there already (EEXIST)');
    map.update(key, u32(3));
    expect(map.lookup(key)).toEqual(u32(3));
    expect(map.delete(key)).toBe(true);
    expect(map.delete(key)).toBe(false);
  });

  it('a frozen one keeps what it has', () => {
    using own = openObject(objectPath('maps'));
    own.load();
    const map = own.map('small_hash');
    const [key, value] = [Buffer.alloc(map.keySize), Buffer.alloc(map.valueSize, 1)];
    map.update(key, value);
    map.freeze();
    expect(() => map.update(key, Buffer.alloc(map.valueSize))).toThrow(/EPERM/);
    expect(() => map.delete(key)).toThrow(/EPERM/);
    expect(() => map.freeze()).toThrow(/EPERM/);
    expect(map.lookup(key)).toEqual(value);
  });

  it('a full one says so, with its size and the way out', () => {
    load();
    const map = object.map('small_hash');
    for (let key = 0n; key < 4n; key++) map.update(u64(key), u32(0));
    try {
      map.update(u64(4n), u32(0));
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(BpfError);
      expect(error).toMatchObject({ code: 'E2BIG', errno: 7, syscall: 'bpf(BPF_MAP_UPDATE_ELEM)' });
      expect((error as Error).message).toMatch(
        /^cannot write to map 'small_hash': it is full: it holds at most 4 entries \(E2BIG\)\. Delete entries, or create it with a larger maxEntries/,
      );
    }
  });

  it('a batch that does not fit writes what fits, and says how much', () => {
    load();
    const map = object.map('small_hash');
    expect(map.updateBatch(u64(1n, 2n), u32(10, 20))).toBe(2);
    try {
      map.updateBatch(u64(3n, 4n, 5n, 6n), u32(30, 40, 50, 60));
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({ code: 'E2BIG', completed: 2 });
      expect((error as Error).message).toContain('it holds at most 4 entries');
      expect((error as Error).message).toMatch(/2 of 4 were done$/);
    }
    expect([...map.entries()].map(([key]) => Number(key.readBigUInt64LE())).toSorted(ascending)).toEqual([1, 2, 3, 4]);
  });

  it('refuses buffers of a wrong length before the kernel reads beyond them', () => {
    const map = object.map('large_hash');
    expect(() => map.lookup(new Uint8Array(3))).toThrow(RangeError);
    expect(() => map.update(u32(1), new Uint8Array(5))).toThrow('argument 3 has 5 bytes where 4 are needed');
    expect(() => map.updateBatch(u32(1, 2), u32(1))).toThrow(RangeError);
  });

  it('iterates over more elements than a batch holds, each once', () => {
    load();
    const map = object.map('large_hash');
    const keys = Array.from({ length: 3000 }, (_, index) => index * 7);
    map.updateBatch(u32(...keys), u32(...keys.map((key) => key + 1)));
    const seen = [...map.entries()].map(([key, value]) => {
      expect(value.readUInt32LE()).toBe(key.readUInt32LE() + 1);
      return key.readUInt32LE();
    });
    expect(seen.toSorted((a, b) => a - b)).toEqual(keys);
  });

  it('goes on when elements come and go meanwhile, and misses none that stays', () => {
    load();
    const map = object.map('large_hash');
    const staying = Array.from({ length: 1500 }, (_, index) => index * 2);
    const leaving = staying.map((key) => key + 1);
    map.updateBatch(u32(...staying, ...leaving), u32(...staying, ...leaving));
    const seen: number[] = [];
    let steps = 0;
    for (const [key] of map.entries()) {
      seen.push(key.readUInt32LE());
      const gone = leaving[steps];
      if (gone !== undefined) map.delete(u32(gone));
      map.update(u32(100_000 + (steps % 50)), u32(0));
      steps++;
    }
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen.filter((key) => key < 3000 && key % 2 === 0).toSorted((a, b) => a - b)).toEqual(staying);
  });

  it('behaves as a Map does', () => {
    const command = fc.oneof(
      fc.record({ op: fc.constant('set'), key: fc.nat({ max: 30 }), value: fc.nat() }),
      fc.record({ op: fc.constant('delete'), key: fc.nat({ max: 30 }), value: fc.constant(0) }),
    );
    const map = object.map('large_hash');
    fc.assert(
      fc.property(fc.array(command, { maxLength: 60 }), (commands) => {
        for (const key of map.keys()) map.delete(key);
        const model = new Map<number, number>();
        for (const { op, key, value } of commands) {
          if (op === 'set') {
            map.update(u32(key), u32(value));
            model.set(key, value);
          } else {
            expect(map.delete(u32(key))).toBe(model.delete(key));
          }
        }
        const read = [...map.entries()].map(([key, value]): [number, number] => [
          key.readUInt32LE(),
          value.readUInt32LE(),
        ]);
        expect(new Map(read)).toEqual(model);
        expect(read.length).toBe(model.size);
      }),
    );
  });

  it('a per-CPU array gives and takes one value for each possible CPU', () => {
    const map = object.map('per_cpu');
    const value = Buffer.alloc(map.valueBytes);
    for (let cpu = 0; cpu < possibleCpus(); cpu++) value.writeUInt32LE(cpu + 1, cpu * 8);
    map.update(u32(2), value);
    const read = map.lookup(u32(2));
    expect(read && splitPerCpu(read, map.valueSize).map((each) => each.readUInt32LE())).toEqual(
      Array.from({ length: possibleCpus() }, (_, cpu) => cpu + 1),
    );
    expect([...map.entries()].map(([key]) => key.readUInt32LE())).toEqual([0, 1, 2]);
    expect(messageOf(() => map.update(u32(3), value))).toContain('the index is beyond its 3 entries (E2BIG)');
  });

  it('an LPM trie matches the longest prefix, and is iterated over and filled like others', () => {
    load();
    const map = object.map('prefixes');
    const prefix = (length: number, ...address: number[]): Buffer => Buffer.concat([u32(length), Buffer.from(address)]);
    map.updateBatch(Buffer.concat([prefix(8, 10, 0, 0, 0), prefix(24, 10, 1, 2, 0)]), u32(1, 2));
    expect(map.lookup(prefix(32, 10, 1, 2, 3))).toEqual(u32(2));
    expect(map.lookup(prefix(32, 10, 9, 9, 9))).toEqual(u32(1));
    expect(map.lookup(prefix(32, 11, 0, 0, 0))).toBeUndefined();
    expect(new Map([...map.entries()].map(([key, value]) => [key.readUInt32LE(), value.readUInt32LE()]))).toEqual(
      new Map([
        [24, 2],
        [8, 1],
      ]),
    );
    // The kernel starts over when a key is deleted during the walk: each key still comes once.
    for (let last = 0; last < 40; last++) map.update(prefix(32, 10, 1, 2, last), u32(last));
    const seen: string[] = [];
    for (const key of keysOf(map)) {
      seen.push(key.toString('hex'));
      map.delete(key);
    }
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen.length).toBe(42);
    expect([...map.keys()]).toEqual([]);
  });

  describe('an LPM trie with more elements than a batch has', () => {
    const COUNT = 3000;
    const host = (n: number): Buffer => Buffer.concat([u32(32), Buffer.from([10, 0, n >> 8, n & 255])]);
    let large: BpfObject;
    let map: BpfMap;
    beforeEach(() => {
      large = openObject(objectPath('maps'), { maps: { prefixes: { maxEntries: 2 * COUNT } } });
      large.load();
      map = large.map('prefixes');
      for (let n = 0; n < COUNT; n++) map.update(host(n), u32(n));
    });
    afterEach(() => {
      vi.restoreAllMocks();
      large.close();
    });

    it('is read by some calls and not by one for each key', () => {
      const steps = vi.spyOn(native, 'mapNextKey');
      const batches = vi.spyOn(native, 'mapLookupBatch');
      expect([...map.entries()].map(([, value]) => value.readUInt32LE()).toSorted(ascending)).toEqual(
        Array.from({ length: COUNT }, (_, n) => n),
      );
      expect(new Set([...map.keys()].map((key) => key.toString('hex'))).size).toBe(COUNT);
      map.snapshot();
      expect(steps).not.toHaveBeenCalled();
      expect(batches.mock.calls.length).toBeLessThan(COUNT / 50);
    });

    it('has a snapshot that tells whether anything has changed, wherever', () => {
      const right = map.snapshot();
      expect(map.snapshot().equals(right)).toBe(true);
      fc.assert(
        fc.property(fc.nat({ max: COUNT - 1 }), (n) => {
          map.update(host(n), u32(n + 1));
          expect(map.snapshot().equals(right)).toBe(false);
          map.delete(host(n));
          expect(map.snapshot().equals(right)).toBe(false);
          map.update(host(COUNT + n), u32(n));
          expect(map.snapshot().equals(right)).toBe(false);
          map.delete(host(COUNT + n));
          map.update(host(n), u32(n));
          expect(map.snapshot().equals(right)).toBe(true);
        }),
        { numRuns: 20 },
      );
    });

    it('is walked although elements come and go meanwhile, and each that stays comes once', () => {
      const seen: number[] = [];
      for (const [key, value] of map.entries()) {
        seen.push(value.readUInt32LE());
        // What the walk has come to is what it goes on from.
        if (value.readUInt32LE() % 2 === 1) map.delete(key);
        map.update(host(COUNT + (seen.length % 50)), u32(COUNT));
      }
      const staying = seen.filter((value) => value < COUNT && value % 2 === 0);
      expect(staying.toSorted(ascending)).toEqual(Array.from({ length: COUNT / 2 }, (_, n) => 2 * n));
    });
  });

  it('a full LPM trie reports it as a hash does', () => {
    load();
    const map = object.map('prefixes');
    const fill = (): void => {
      for (let last = 0; last <= map.maxEntries; last++) map.update(u32(32, last), u32(0));
    };
    expect(messageOf(fill)).toContain(
      "cannot write to map 'prefixes': it is full: it holds at most 64 entries (ENOSPC)",
    );
  });

  it('says what the kernel does not offer for a type', () => {
    expect(messageOf(() => [...object.map('sockets').entries()])).toMatch(/ENOTSUPP|EINVAL|EOPNOTSUPP/);
  });
});

describe.skipIf(need.skip)(`pinned maps${need.label}`, () => {
  let bpffs: ReturnType<typeof mountBpffs>;
  beforeAll(() => {
    bpffs = mountBpffs();
  });
  afterAll(() => bpffs.remove());

  it('outlive their object by a pin, and serve the next object', () => {
    const pinPath = join(bpffs.path, 'small');
    const first = openObject(objectPath('maps'));
    first.load();
    first.map('small_hash').update(u64(1n), u32(7));
    first.map('small_hash').pin(pinPath);
    const { id } = first.map('small_hash');
    first.close();
    using pinned = BpfMap.openPinned(pinPath);
    expect(pinned.name).toBe('small_hash');
    expect(pinned.lookup(u64(1n))).toEqual(u32(7));
    using second = openObject(objectPath('maps'), { maps: { small_hash: { reuse: pinned } } });
    second.load();
    expect(second.map('small_hash').id).toBe(id);
    pinned.unpin();
    expect(messageOf(() => BpfMap.openPinned(pinPath))).toContain('there is no such pin (ENOENT)');
  });

  it('of another shape are refused, with the fields that differ', () => {
    using object = openObject(objectPath('maps'), { maps: { small_hash: { maxEntries: 8 } } });
    object.load();
    const reuse = object.map('small_hash');
    const message = (name: string, maxEntries?: number): string => {
      using other = openObject(objectPath('maps'), {
        maps: { [name]: maxEntries === undefined ? { reuse } : { reuse, maxEntries } },
      });
      return messageOf(() => other.load());
    };
    expect(message('small_hash')).toContain(
      `the map 'small_hash' (id ${reuse.id}) cannot serve as 'small_hash': it has max_entries 8, the object wants 4`,
    );
    expect(message('prefixes', 8)).toContain('it has type hash, the object wants lpm_trie');
    expect(message('prefixes', 8)).toContain('it has map_flags 0, the object wants 1');
    expect(message('large_hash', 8)).toContain('it has key_size 8, the object wants 4');
  });

  it('can be handed from one object to another', () => {
    using first = openObject(objectPath('maps'));
    first.load();
    const reuse = first.map('large_hash');
    using second = openObject(objectPath('maps'), { maps: { large_hash: { reuse } } });
    second.load();
    expect(second.map('large_hash').id).toBe(reuse.id);
    expect(reuse.lookup(u32(1))).toBeUndefined();
  });
});
