// Batches: many elements in one system call, and one call per element where the kernel has no batch for the map's type.
import { native } from './native.js';
import type { BatchOutcome } from './native.js';
import { attempt, BpfError, isCallFailure } from './error.js';
import type { CallFailure } from './error.js';
import type { BpfMap } from './map.js';

/** The kernel's own ENOTSUPP (include/linux/errno.h), which BPF_MAP_*_BATCH return for a type without batches. */
const ENOTSUPP = 524;
const ENOENT = 2;
const EINTR = 4;
const ENOSPC = 28;
const DEFAULT_COUNT = 256;
/** A batch of a walk by key gives up when the keys that come next are deleted while it is at them (generic_map_lookup_batch). */
const MOST_INTERRUPTIONS = 16;

/** Elements back to back. */
export interface LookupBatch {
  count: number;
  keys: Buffer;
  values: Buffer;
  /** For the next call; undefined when the end was reached. */
  cursor: Buffer | undefined;
}

export function lookupBatch(map: BpfMap, count = DEFAULT_COUNT, cursor?: Buffer): LookupBatch {
  const what = `read map '${map.name}' in batches`;
  let room = Math.max(1, count);
  for (let interruptions = 0; ;) {
    const outcome = attempt(what, () => native.mapLookupBatch(map.fd, cursor, map.keySize, map.valueBytes, room));
    // ENOSPC: the next bucket of the hash has more elements than fit into the buffer.
    if (outcome.errno === ENOSPC && room < map.maxEntries * 2) {
      room *= 2;
      continue;
    }
    if (outcome.errno === EINTR && interruptions++ < MOST_INTERRUPTIONS) continue;
    if (outcome.errno !== 0 && outcome.errno !== ENOENT) throw batchError(what, 'BPF_MAP_LOOKUP_BATCH', outcome);
    return {
      count: outcome.done,
      keys: outcome.keys.subarray(0, outcome.done * map.keySize),
      values: outcome.values.subarray(0, outcome.done * map.valueBytes),
      cursor: outcome.errno === ENOENT ? undefined : outcome.cursor,
    };
  }
}

export function updateBatch(
  map: BpfMap,
  keys: Uint8Array,
  values: Uint8Array,
  count: number,
  flags: number,
  explain: (failure: CallFailure) => string | undefined,
): number {
  if (count === 0) return 0;
  const what = `write ${count} entries to map '${map.name}'`;
  const outcome = attempt(what, () =>
    native.mapUpdateBatch(map.fd, keys, map.keySize, values, map.valueBytes, count, flags),
  );
  if (outcome.errno === 0) return count;
  if (outcome.errno === ENOTSUPP) return updateOneByOne(map, keys, values, count, flags, explain);
  throw partial(what, 'BPF_MAP_UPDATE_BATCH', outcome, count, explain);
}

function updateOneByOne(
  map: BpfMap,
  keys: Uint8Array,
  values: Uint8Array,
  count: number,
  flags: number,
  explain: (failure: CallFailure) => string | undefined,
): number {
  for (let done = 0; done < count; done++) {
    const key = slice(keys, map.keySize, done);
    const value = slice(values, map.valueBytes, done);
    try {
      native.mapUpdate(map.fd, key, map.keySize, value, map.valueBytes, flags);
    } catch (error) {
      if (!isCallFailure(error)) throw error;
      const outcome = { done, errno: error.errno, code: error.code };
      throw partial(`write ${count} entries to map '${map.name}'`, 'BPF_MAP_UPDATE_ELEM', outcome, count, explain);
    }
  }
  return count;
}

function slice(bytes: Uint8Array, size: number, index: number): Uint8Array {
  return bytes.subarray(index * size, (index + 1) * size);
}

function partial(
  what: string,
  syscall: string,
  outcome: BatchOutcome,
  count: number,
  explain: (failure: CallFailure) => string | undefined,
): BpfError {
  const code = outcome.code ?? 'EIO';
  const failure = Object.assign(new Error(code), { code, errno: outcome.errno, syscall, text: code });
  const cause = explain(failure) ?? code;
  return new BpfError(`cannot ${what}: ${cause}. ${outcome.done} of ${count} were done`, {
    code,
    errno: outcome.errno,
    syscall: `bpf(${syscall})`,
    completed: outcome.done,
  });
}

function batchError(what: string, syscall: string, outcome: BatchOutcome): BpfError {
  const code = outcome.code ?? 'EIO';
  return new BpfError(`cannot ${what}: ${code}`, { code, errno: outcome.errno, syscall: `bpf(${syscall})` });
}
