// Reads what the kernel has of the datapath, for a comparison with what ought to be there. Whatever is missing, the
// rest is read.
import { dirname } from 'node:path';
import {
  BpfLink,
  BpfMap,
  isBpfFileSystem,
  mapInfo,
  openObject,
  programInfo,
  queryCgroup,
  type LinkInfo,
} from '@sluice/libbpf';
import type { AppliedMap } from './entries.js';
import { entryDifferences, type EntryDifference } from './entry-differences.js';
import { maps } from './generated/maps.js';
import type { AttachPlan, Place } from './attach-plan.js';
import { INBOUND_PROGRAM, OBJECT_PATH, PINNED_MAPS, linkPin, mapPin, nameInKernel, type MapName } from './layout.js';
import { readTable } from './kept-map.js';
import { capturedListener } from './listeners.js';
import { linksOfSluice, unlessGone } from './links-of-sluice.js';
import { openIfPinned } from './pins.js';
import { readRouted, type RoutedDevices } from './routed-netns.js';
import { wantedTables, type WantedEntries } from './wanted-entries.js';

export interface PinnedMap {
  readonly name: MapName;
  /** Undefined if it is not pinned. */
  readonly id: number | undefined;
  /** How its layout differs from that of this version, in words; if it does, its entries are not read. */
  readonly misfit: string | undefined;
}

/** Throws BpfError without the right to look, and RangeError if what is wanted does not have the layout of this version. */
export function compareMaps(
  pinDirectory: string,
  wanted: WantedEntries,
): { readonly maps: readonly PinnedMap[]; readonly entries: readonly EntryDifference[] } {
  const tables = wantedTables(wanted);
  const isCompared = (name: MapName): name is MapName & AppliedMap => name in tables;
  const entries: EntryDifference[] = [];
  const pinned = PINNED_MAPS.map((name): PinnedMap => {
    using map = openIfPinned(mapPin(pinDirectory, name), (pin) => BpfMap.openPinned(pin));
    if (map === undefined) return { name, id: undefined, misfit: undefined };
    const misfit = misfitOf(name, map);
    if (misfit === undefined && isCompared(name)) entries.push(...entryDifferences(name, tables[name], readTable(map)));
    return { name, id: map.id, misfit };
  });
  return { maps: pinned, entries };
}

/** Capacities are configured and not part of the layout. */
function misfitOf(name: MapName, map: BpfMap): string | undefined {
  const fields = ['type', 'keySize', 'valueSize', 'flags'] as const;
  const other = fields.filter((field) => map[field] !== maps[name][field]);
  return other.length === 0
    ? undefined
    : other.map((field) => `${field} ${map[field]}, not ${maps[name][field]}`).join(', ');
}

/** Why nothing can be pinned there and nothing pinned is left; undefined if something can be pinned. */
export function whyNotPinned(pinDirectory: string): string | undefined {
  if (isBpfFileSystem(pinDirectory)) return undefined;
  const parent = dirname(pinDirectory);
  return isBpfFileSystem(parent) ? 'there is no such directory' : `no BPF file system is mounted at ${parent}`;
}

/** A running program and the ids of the maps that it uses, by their names in the kernel ({@link nameInKernel}). */
export interface RunningProgram {
  readonly id: number;
  readonly maps: ReadonlyMap<string, number>;
}

/** A program that ought to be attached to a cgroup. */
export interface AttachedProgram {
  readonly program: string;
  readonly cgroup: Place;
  /** Undefined if its link is not pinned; its `cgroupId` is 0 if it is attached to nothing. */
  readonly link: LinkInfo | undefined;
  /** The programs of its name that run at its hook, at the cgroup or above, whichever process attached them. */
  readonly running: readonly RunningProgram[];
}

/** A cgroup that is gone is left out. Throws BpfError without the right to look. */
export function readPrograms(pinDirectory: string, plan: AttachPlan): AttachedProgram[] {
  using object = openObject(OBJECT_PATH);
  const hooks = new Map(object.programDefinitions().map(({ name, attachType }) => [name, attachType]));
  return [...plan].flatMap(([program, places]) =>
    places.flatMap((cgroup) => {
      const effective = unlessGone(() => queryCgroup(cgroup.path, hooks.get(program) ?? '', true));
      if (effective === undefined) return [];
      const running = effective.programs
        .filter(({ name }) => name === nameInKernel(program))
        .flatMap(({ id }) => unlessGone(() => ({ id, maps: mapsByName(programInfo(id).mapIds) })) ?? []);
      using link = openIfPinned(linkPin(pinDirectory, program, cgroup.id), (pin) => BpfLink.openPinned(pin));
      return [{ program, cgroup, link: link?.info(), running }];
    }),
  );
}

/** An inbound program in a network namespace, whichever process attached it. */
export interface InboundLink extends RunningProgram {
  /** 0 once the namespace is gone. */
  readonly netnsInode: number;
}

/** All of the machine. Throws BpfError without the right to look. */
export function readInboundLinks(): InboundLink[] {
  return linksOfSluice()
    .filter(({ name }) => name === nameInKernel(INBOUND_PROGRAM))
    .map(({ programId, netnsInode = 0, mapIds }) => ({ id: programId, netnsInode, maps: mapsByName(mapIds) }));
}

function mapsByName(ids: readonly number[]): ReadonlyMap<string, number> {
  return new Map(ids.flatMap((id) => unlessGone(() => [[mapInfo(id).name, id] as const]) ?? []));
}

/** The captured listeners of the namespaces with these cookies; undefined if the map is not there. */
export function readListeners(
  pinDirectory: string,
  cookies: Iterable<bigint>,
  ports: readonly number[],
): { readonly netnsCookie: bigint; readonly port: number }[] | undefined {
  using map = openIfPinned(mapPin(pinDirectory, 'listeners'), (pin) => BpfMap.openPinned(pin));
  if (map === undefined || misfitOf('listeners', map) !== undefined) return undefined;
  const found = [];
  for (const netnsCookie of cookies)
    for (const port of ports)
      if (capturedListener(map, netnsCookie, port) !== undefined) found.push({ netnsCookie, port });
  return found;
}

/** What counts as prepared for capture by route, by the namespaces' cookies; undefined if the map is not there. */
export function readRoutedNetns(pinDirectory: string): ReadonlyMap<bigint, RoutedDevices> | undefined {
  using map = openIfPinned(mapPin(pinDirectory, 'routed_netns'), (pin) => BpfMap.openPinned(pin));
  return map === undefined || misfitOf('routed_netns', map) !== undefined ? undefined : readRouted(map);
}
