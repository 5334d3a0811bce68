// Removes everything of the datapath from the node: attachments first, then pins.
import { existsSync, readdirSync, rmdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { BpfError, BpfLink, BpfMap, linkIds, linkInfo, programInfo } from '@sluice/libbpf';
import { PINNED_MAPS, PROGRAMS, linkPin, linksDirectory, mapPin, mapsDirectory } from './layout.js';
import { detachPinnedNetns, pinnedNetns } from './netns-links.js';
import { clearPin, openIfPinned } from './pins.js';

/** What was removed, by path or name. */
export interface CleanupResult {
  readonly detached: readonly string[];
  readonly unpinned: readonly string[];
}

/** The kernel cuts names to 15 characters: enough of every program's to know it by. */
const PROGRAM_PREFIX = 'sluice_';

/**
 * Detaches and unpins everything below the pin directory, and, where a cgroup is named, what is attached without a pin: to
 * that cgroup, and to network namespaces on the same maps. `connect` goes first, so that no connection is redirected after
 * the programs that carry its original destination have gone. Idempotent.
 */
export function cleanup(pinDirectory: string, cgroup?: string): CleanupResult {
  const detached: string[] = [];
  const unpinned: string[] = [];
  for (const program of PROGRAMS.toReversed()) {
    const pin = linkPin(pinDirectory, program);
    using link = openIfPinned(pin, (path) => BpfLink.openPinned(path));
    if (link === undefined) continue;
    link.detach();
    link.unpin();
    detached.push(program);
  }
  for (const cookie of pinnedNetns(pinDirectory)) {
    if (detachPinnedNetns(pinDirectory, cookie)) detached.push(`netns-${cookie}`);
  }
  if (cgroup !== undefined && existsSync(cgroup)) detached.push(...detachStrays(cgroup, pinnedMapIds(pinDirectory)));
  for (const directory of [linksDirectory(pinDirectory), mapsDirectory(pinDirectory)]) {
    if (!existsSync(directory)) continue;
    for (const name of readdirSync(directory)) {
      clearPin(join(directory, name));
      unpinned.push(join(directory, name));
    }
    rmdirSync(directory);
  }
  if (existsSync(pinDirectory) && readdirSync(pinDirectory).length === 0) rmdirSync(pinDirectory);
  return { detached, unpinned };
}

/** A link of ours, by the name of its program, that no pin names. */
interface Stray {
  readonly id: number;
  readonly name: string;
  readonly cgroupId: bigint | undefined;
  readonly isOfNetns: boolean;
  readonly mapIds: readonly number[];
}

/** An agent that was killed between attaching and pinning leaves none, a lost bpffs does. */
function detachStrays(cgroup: string, pinnedMaps: readonly number[]): string[] {
  const cgroupId = statSync(cgroup, { bigint: true }).ino;
  const links = linksOfSluice();
  const onCgroup = links.filter((link) => link.cgroupId === cgroupId);
  // Another Sluice may run beside this one: a namespace's link is ours if it works on the same maps.
  const ours = new Set([...pinnedMaps, ...onCgroup.flatMap(({ mapIds }) => mapIds)]);
  const onNetns = links.filter(({ isOfNetns, mapIds }) => isOfNetns && mapIds.some((id) => ours.has(id)));
  return [...onCgroup, ...onNetns].flatMap(({ id, name }) => unlessGone(() => detachLink(id, name)) ?? []);
}

function linksOfSluice(): Stray[] {
  return linkIds().flatMap((id) => {
    const link = unlessGone(() => describe(id));
    return link === undefined || !link.name.startsWith(PROGRAM_PREFIX) ? [] : [link];
  });
}

function describe(id: number): Stray {
  const { cgroupId, netnsInode, programId } = linkInfo(id);
  const { name, mapIds } = programInfo(programId);
  return { id, name, cgroupId, isOfNetns: netnsInode !== undefined, mapIds };
}

function detachLink(id: number, name: string): string {
  using link = BpfLink.openId(id);
  link.detach();
  return name;
}

function pinnedMapIds(pinDirectory: string): number[] {
  return PINNED_MAPS.flatMap((name) => {
    using map = openIfPinned(mapPin(pinDirectory, name), (pin) => BpfMap.openPinned(pin));
    return map?.id ?? [];
  });
}

/** Undefined if it went by itself meanwhile. */
function unlessGone<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof BpfError && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
