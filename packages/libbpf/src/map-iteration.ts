// Iterates over a map that others change meanwhile.
import { native } from './native.js';
import { attempt, BpfError } from './error.js';
import { lookupBatch, type LookupBatch } from './map-batch.js';
import type { BpfMap } from './map.js';

/** Types whose batch walks bucket by bucket (htab_map_lookup_batch): deleting an element during the walk moves nothing. */
const BUCKET_BATCHES: ReadonlySet<string> = new Set(['hash', 'percpu_hash', 'lru_hash', 'lru_percpu_hash']);
/** A type whose batch walks by key (generic_map_lookup_batch), in one call for many. The other types are small. */
const KEY_BATCH = 'lpm_trie';
const BATCH = 256;
const SNAPSHOT_BATCH = 1024;
/** A walk by key starts over when its present key is deleted meanwhile; this many rounds over the map are enough. */
const MOST_ROUNDS = 16;

export function* entriesOf(map: BpfMap): Generator<[Buffer, Buffer], undefined> {
  if (BUCKET_BATCHES.has(map.type)) {
    yield* batchedEntries(map);
    return;
  }
  if (map.type === KEY_BATCH) {
    yield* eachOnce(map, batchedEntries(map), ([key]) => key);
    return;
  }
  for (const key of keysOf(map)) {
    const value = map.lookup(key);
    // It was deleted after its key had been read.
    if (value !== undefined) yield [key, value];
  }
}

/** Equal to that of another time if nobody has written the map in between, and only if it held the same at both. */
export function snapshotOf(map: BpfMap): Buffer {
  if (!isBatched(map)) return Buffer.concat([...entriesOf(map)].flat());
  const parts: Buffer[] = [];
  let read = 0;
  for (const { count, keys, values } of batchesOf(map, SNAPSHOT_BATCH)) {
    parts.push(Buffer.from(Uint32Array.of(count).buffer), keys, values);
    read += count;
    // The walk has started over: it is another map than at any time when nobody wrote it.
    if (read > map.maxEntries) break;
  }
  return Buffer.concat(parts);
}

export function* keysOf(map: BpfMap): Generator<Buffer, undefined> {
  if (isBatched(map)) {
    for (const [key] of entriesOf(map)) yield key;
    return;
  }
  yield* eachOnce(map, walkByKey(map), (key) => key);
}

const isBatched = ({ type }: BpfMap): boolean => BUCKET_BATCHES.has(type) || type === KEY_BATCH;

function* batchedEntries(map: BpfMap): Generator<[Buffer, Buffer], undefined> {
  for (const batch of batchesOf(map, BATCH)) {
    for (let at = 0; at < batch.count; at++) {
      yield [
        batch.keys.subarray(at * map.keySize, (at + 1) * map.keySize),
        batch.values.subarray(at * map.valueBytes, (at + 1) * map.valueBytes),
      ];
    }
  }
}

function* batchesOf(map: BpfMap, count: number): Generator<LookupBatch, undefined> {
  let cursor: Buffer | undefined;
  do {
    const batch = lookupBatch(map, count, cursor);
    yield batch;
    cursor = batch.cursor;
  } while (cursor !== undefined);
}

function* walkByKey(map: BpfMap): Generator<Buffer, undefined> {
  let key: Buffer | undefined;
  for (;;) {
    const before = key;
    key = attempt(`walk through map '${map.name}'`, () => native.mapNextKey(map.fd, before, map.keySize));
    if (key === undefined) return;
    yield key;
  }
}

/** A walk by key starts over when the key that it has come to is gone, so a key may come again. */
function* eachOnce<T>(map: BpfMap, elements: Iterable<T>, keyOf: (element: T) => Buffer): Generator<T, undefined> {
  const seen = new Set<string>();
  const most = (map.maxEntries + 1) * MOST_ROUNDS;
  let steps = 0;
  for (const element of elements) {
    if (steps++ > most) {
      throw new BpfError(
        `cannot walk through map '${map.name}': it changes faster than it can be read (started over ${MOST_ROUNDS} times)`,
        { code: 'EAGAIN', errno: 11, syscall: 'bpf(BPF_MAP_GET_NEXT_KEY)' },
      );
    }
    const text = keyOf(element).toString('latin1');
    if (seen.has(text)) continue;
    seen.add(text);
    yield element;
  }
}
