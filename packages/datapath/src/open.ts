// Loads the object: on the pinned maps where they fit, and on fresh ones where they do not.
import { existsSync, mkdirSync, readdirSync, statSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { BpfMap, openObject, type BpfObject, type MapDefinition } from '@sluice/libbpf';
import { jiffyMicroseconds } from '@sluice/linux';
import { DatapathError } from './errors.js';
import {
  CAPACITIES,
  OBJECT_PATH,
  PINNED_MAPS,
  SIZES_STAY,
  defaultCapacities,
  linksDirectory,
  mapPin,
  mapsDirectory,
  nameInKernel,
  type Capacities,
  type MapName,
} from './layout.js';
import { FormerMaps, roomNeeded } from './former-maps.js';
import { unlessGone } from './links-of-sluice.js';
import { mapsInUse } from './maps-in-use.js';
import { canPinIn, clearPin, openIfPinned } from './pins.js';
import { namesOf } from './records.js';
import { retransmission } from './retransmission.js';

/** Of linux/magic.h. */
const CGROUP2_SUPER_MAGIC = 0x63677270;

export interface DatapathOptions {
  /** Where maps and links are pinned: a directory on a BPF file system, made if it is missing. */
  readonly pinDirectory: string;
  /** The cgroup2 directory that the programs are attached to; everything below it is subject to them. */
  readonly cgroup: string;
  /** Capacities that are left out are those of {@link defaultCapacities}. */
  readonly capacities?: Partial<Capacities>;
  /** How long a connection can wait for ztunnel, in milliseconds, before its client gives it up. Default: a minute. */
  readonly longestHoldMs?: number;
  /** How many entries of `cgroup_info_map` are left for ztunnel and the kubelet when pods fill it. Default 0. */
  readonly reservedCgroups?: number;
  /** The built object; the one that ships with this package if left out. */
  readonly objectPath?: string;
  /** The built object of the inbound program; the one that ships with this package if left out. */
  readonly inboundObjectPath?: string;
}

/** A map that has another size than its capacity asks for, because the attached programs use it. */
export interface KeptSize {
  readonly map: MapName;
  readonly capacity: keyof Capacities;
  readonly wanted: number;
  readonly maxEntries: number;
}

export interface LoadedObject {
  readonly object: BpfObject;
  /** Maps of an earlier agent that these programs share. */
  readonly adopted: readonly MapName[];
  /** Maps that are not pinned, most of them new; {@link pinFresh} pins them when they are filled. */
  readonly fresh: readonly MapName[];
  readonly keptSizes: readonly KeptSize[];
  /** What the attached programs work on instead. The owner of this closes it. */
  readonly former: FormerMaps;
}

/** Throws DatapathError: not-bpffs, not-cgroup2, load. */
export function loadObject(options: DatapathOptions): LoadedObject {
  const { pinDirectory, cgroup, capacities = {}, longestHoldMs = 60_000, objectPath = OBJECT_PATH } = options;
  checkPlaces(pinDirectory, cgroup);
  mkdirSync(mapsDirectory(pinDirectory), { recursive: true, mode: 0o700 });
  mkdirSync(linksDirectory(pinDirectory), { recursive: true, mode: 0o700 });
  const opened: BpfMap[] = [];
  try {
    const inUse = mapsInUse(pinDirectory);
    const used = (name: MapName): BpfMap | undefined => {
      const id = inUse.get(nameInKernel(name));
      return id === undefined ? undefined : unlessGone(() => BpfMap.openId(id));
    };
    const keptSizes: KeptSize[] = [];
    const sizeOf = (map: MapName, capacity: keyof Capacities): number => {
      const wanted = capacities[capacity] ?? defaultCapacities[capacity];
      if (!SIZES_STAY.includes(map)) return Math.max(wanted, roomNeeded(map, inUse));
      using present = used(map);
      if (present === undefined || present.maxEntries === wanted) return wanted;
      keptSizes.push({ map, capacity, wanted, maxEntries: present.maxEntries });
      return present.maxEntries;
    };
    const sized = Object.fromEntries(
      namesOf(CAPACITIES).flatMap((capacity) =>
        CAPACITIES[capacity].map((map) => [map, { maxEntries: sizeOf(map, capacity) }]),
      ),
    );
    const definitions = definitionsOf(objectPath, sized);
    const mapOptions: Record<string, { maxEntries?: number; reuse?: BpfMap }> = { ...sized };
    const adopted: MapName[] = [];
    const fresh: MapName[] = [];
    for (const name of PINNED_MAPS) {
      const pinned = openIfPinned(mapPin(pinDirectory, name), (path) => BpfMap.openPinned(path));
      // An agent that has ended may have pinned a map that no program uses yet.
      const map = SIZES_STAY.includes(name) ? (used(name) ?? pinned) : (pinned ?? used(name));
      for (const each of new Set([pinned, map])) if (each !== undefined) opened.push(each);
      if (map === undefined || !fits(map, definitions.get(name))) {
        fresh.push(name);
        continue;
      }
      mapOptions[name] = { ...mapOptions[name], reuse: map };
      adopted.push(name);
      if (pinned?.id !== map.id) fresh.push(name);
    }
    const { first, times } = retransmission(longestHoldMs, jiffyMicroseconds());
    const rodata = { first_retransmission: first, retransmissions: times };
    const object = openObject(objectPath, { maps: mapOptions, rodata });
    object.load();
    return { object, adopted, fresh, keptSizes, former: new FormerMaps(object, inUse) };
  } catch (error) {
    throw DatapathError.because('load', 'the BPF programs could not be loaded', error);
  } finally {
    for (const map of opened) map.close();
  }
}

/**
 * Pins the fresh maps where the next agent will look for them, in the place of what did not fit. Pins under names that
 * this version does not have are removed: the programs that use such a map keep it until they are replaced.
 */
export function pinFresh({ object, fresh }: LoadedObject, pinDirectory: string): void {
  for (const name of fresh) {
    const pin = mapPin(pinDirectory, name);
    clearPin(pin);
    object.map(name).pin(pin);
  }
  const directory = mapsDirectory(pinDirectory);
  const known: readonly string[] = PINNED_MAPS;
  for (const name of readdirSync(directory)) if (!known.includes(name)) clearPin(join(directory, name));
}

function checkPlaces(pinDirectory: string, cgroup: string): void {
  if (!canPinIn(pinDirectory)) {
    throw new DatapathError(
      'not-bpffs',
      `${pinDirectory} is not on a BPF file system, so that nothing can be pinned there. Mount one: mount -t bpf bpf /sys/fs/bpf`,
    );
  }
  if (!existsSync(cgroup) || !statSync(cgroup).isDirectory() || statfsSync(cgroup).type !== CGROUP2_SUPER_MAGIC) {
    throw new DatapathError(
      'not-cgroup2',
      `${cgroup} is not a cgroup2 directory, so that no program can be attached to it. Name the cgroup2 mount (grep cgroup2 /proc/mounts)`,
    );
  }
}

function definitionsOf(objectPath: string, sized: Record<string, { maxEntries: number }>): Map<string, MapDefinition> {
  using object = openObject(objectPath, { maps: sized });
  return new Map(object.mapDefinitions().map((definition) => [definition.name, definition]));
}

function fits(map: BpfMap, definition: MapDefinition | undefined): boolean {
  return (
    definition !== undefined &&
    map.type === definition.type &&
    map.keySize === definition.keySize &&
    map.valueSize === definition.valueSize &&
    map.maxEntries === definition.maxEntries &&
    map.flags === definition.flags
  );
}
