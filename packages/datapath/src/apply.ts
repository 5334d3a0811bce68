// Makes the maps what they ought to be, in an order in which no pod leaves the mesh or is sent nowhere on the way.
import { constants } from 'node:os';
import { BpfError } from '@sluice/libbpf';
import {
  REFERRED_TO,
  WORKLOADS,
  WRITTEN_MAPS,
  configKey,
  decodeConfig,
  encodeConfig,
  encodeMaps,
  isNeverRedirected,
  tableOfConfig,
  type AppliedMap,
  type EntryTable,
  type WrittenMap,
} from './entries.js';
import type { DatapathSettings, DesiredMaps } from './desired.js';
import { readTable } from './kept-map.js';
import type { Maps } from './layout.js';
import { wantedEntries, type WantedEntries } from './wanted-entries.js';
import { recordOf } from './records.js';

/** An entry that could not be written; the rest was written. */
export interface ApplyFailure {
  readonly map: WrittenMap;
  /** The entry's key, hexadecimal in map order. */
  readonly key: string;
  readonly error: BpfError;
}

export interface ApplyResult {
  readonly written: number;
  readonly removed: number;
  readonly failures: readonly ApplyFailure[];
  /** What the maps ought to hold now, whether it could be written or not. */
  readonly wanted: WantedEntries;
}

/** The maps that {@link applyDesired} reads and writes. */
export type AppliedMaps = Maps<AppliedMap>;

/**
 * Writes the difference between what the maps hold and what they ought to. It reads the maps first, because they say
 * what is enforced, and no memory of ours does. Idempotent.
 *
 * Everything that is new is written before anything stale is removed, so that a workload whose entry moves to another
 * key is always found. ztunnel and the kubelet come first and go last: while connections are sent to ztunnel, a ztunnel
 * that is not known to be one would be sent to itself.
 *
 * @param reservedCgroups entries of `cgroup_info_map` that pods leave to ztunnel and the kubelet
 * @returns with what the maps hold now
 */
export function applyDesired(
  maps: AppliedMaps,
  desired: DesiredMaps,
  reservedCgroups = 0,
): ApplyResult & { readonly tables: Readonly<Record<AppliedMap, EntryTable>> } {
  const wanted = encodeMaps(desired);
  const changes = new Changes(maps, readTables(maps), reservedCgroups);
  // While entries come and go, a lookup tries the depths of both the old entries and the new.
  const present = decodeConfig(maps.config.lookup(configKey()));
  const cgroupLevels = [...new Set([...present.cgroupLevels, ...desired.settings.cgroupLevels])];
  changes.writeConfig({ ...present, cgroupLevels });
  for (const map of WORKLOADS) changes.write(map, wanted[map], isNeverRedirected);
  changes.writeConfig({ ...desired.settings, cgroupLevels });
  for (const map of REFERRED_TO) changes.write(map, wanted[map]);
  for (const map of WORKLOADS) changes.write(map, wanted[map], isWorkload);
  for (const map of WORKLOADS) changes.removeOthers(map, wanted[map], isWorkload);
  for (const map of REFERRED_TO) changes.removeOthers(map, wanted[map]);
  for (const map of WORKLOADS) changes.removeOthers(map, wanted[map], isNeverRedirected);
  changes.retryFailures();
  changes.writeConfig(desired.settings);
  const result = changes.result();
  const tables = { ...wanted, config: tableOfConfig(desired.settings) };
  const all = wantedEntries(desired, wanted);
  for (const { map, key } of result.failures) tables[map].delete(key);
  return { ...result, wanted: all, tables };
}

/** Selects entries by their values. */
type Selection = (value: Buffer) => boolean;
const isWorkload: Selection = (value) => !isNeverRedirected(value);
const every: Selection = () => true;

class Changes {
  readonly #maps: AppliedMaps;
  readonly #present: Readonly<Record<WrittenMap, EntryTable>>;
  #written = 0;
  #removed = 0;
  readonly #reservedCgroups: number;
  /** Entries of pods in `cgroup_info_map`. */
  #podCgroups: number;
  #failures: (ApplyFailure & { value: Buffer })[] = [];

  constructor(maps: AppliedMaps, present: Readonly<Record<WrittenMap, EntryTable>>, reservedCgroups: number) {
    this.#maps = maps;
    this.#present = present;
    this.#reservedCgroups = reservedCgroups;
    this.#podCgroups = [...present.cgroup_info_map.values()].filter(({ value }) => isWorkload(value)).length;
  }

  writeConfig(settings: DatapathSettings): void {
    const { key, value } = encodeConfig(settings);
    if (this.#maps.config.lookup(key)?.equals(value) === true) return;
    this.#maps.config.update(key, value);
    this.#written += 1;
  }

  write(name: WrittenMap, wanted: EntryTable, selected = every): void {
    for (const [id, { key, value }] of wanted) {
      if (this.#present[name].get(id)?.value.equals(value) === true || !selected(value)) continue;
      this.#put(name, id, key, value);
    }
  }

  removeOthers(name: WrittenMap, wanted: EntryTable, selected = every): void {
    const map = this.#maps[name];
    for (const [id, { key, value }] of this.#present[name]) {
      if (wanted.has(id) || !selected(value)) continue;
      if (!map.delete(key)) continue;
      this.#removed += 1;
      this.#present[name].delete(id);
      if (name === 'cgroup_info_map' && isWorkload(value)) this.#podCgroups -= 1;
    }
  }

  /** A map that was full may have room now that stale entries are gone. */
  retryFailures(): void {
    const failures = this.#failures;
    this.#failures = [];
    for (const { map, key, value } of failures) this.#put(map, key, Buffer.from(key, 'hex'), value);
  }

  result(): Omit<ApplyResult, 'wanted'> {
    return {
      written: this.#written,
      removed: this.#removed,
      failures: this.#failures.map(({ map, key, error }) => ({ map, key, error })),
    };
  }

  /** Counts the entry of a pod. Throws BpfError as a full map does. */
  #leaveRoom(id: string): void {
    const { name, maxEntries } = this.#maps.cgroup_info_map;
    const former = this.#present.cgroup_info_map.get(id);
    if (former !== undefined && isWorkload(former.value)) return;
    const room = maxEntries - this.#reservedCgroups;
    if (this.#podCgroups >= room) {
      const message = `cannot write to map '${name}': it is full: it holds at most ${room} entries of pods (E2BIG)`;
      throw new BpfError(message, { code: 'E2BIG', errno: constants.errno.E2BIG, syscall: 'bpf' });
    }
    this.#podCgroups += 1;
  }

  #put(name: WrittenMap, id: string, key: Buffer, value: Buffer): void {
    try {
      if (name === 'cgroup_info_map' && isWorkload(value)) this.#leaveRoom(id);
      this.#maps[name].update(key, value);
      this.#written += 1;
    } catch (error) {
      if (!(error instanceof BpfError)) throw error;
      this.#failures.push({ map: name, key: id, error, value });
    }
  }
}

/** What the maps hold now. */
export function readTables(maps: Maps<WrittenMap>): Record<WrittenMap, EntryTable> {
  return recordOf(WRITTEN_MAPS, (name) => readTable(maps[name]));
}
