// Removes everything of the datapath from the node: attachments first, then pins.
import { existsSync, readdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { BpfLink, BpfMap } from '@sluice/libbpf';
import { detachOthers } from './attach.js';
import { CgroupTree } from './cgroup-tree.js';
import { removeGuard } from './guard/removal.js';
import { PINNED_MAPS, linksDirectory, mapPin, mapsDirectory } from './layout.js';
import { linksOfSluice, unlessGone } from './links-of-sluice.js';
import { detachPinnedNetns, pinnedNetns } from './netns-links.js';
import { clearPin, openIfPinned } from './pins.js';

/** What was removed, by path or name. */
export interface CleanupResult {
  readonly detached: readonly string[];
  readonly unpinned: readonly string[];
}

/**
 * Detaches and unpins everything below the pin directory. If a cgroup is named, also detaches what is attached to it or to
 * cgroups in it without a pin, and what is attached to network namespaces on the same maps. `connect` goes first, so that no
 * connection is redirected after the programs that carry its original destination have gone. Idempotent.
 */
export function cleanup(pinDirectory: string, cgroup?: string): CleanupResult {
  const detached: string[] = [];
  const unpinned: string[] = [];
  detached.push(...detachOthers(new Map(), pinDirectory));
  for (const cookie of pinnedNetns(pinDirectory)) {
    if (detachPinnedNetns(pinDirectory, cookie)) detached.push(`netns-${cookie}`);
  }
  detached.push(...removeGuard(pinDirectory));
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

/** A bpffs that was lost leaves such links; an agent that was killed between attaching and pinning leaves none. */
function detachStrays(cgroup: string, pinnedMaps: readonly number[]): string[] {
  const tree = new CgroupTree(cgroup);
  const links = linksOfSluice();
  const onCgroup = links.filter(({ cgroupId }) => cgroupId !== undefined && tree.pathOf(cgroupId) !== undefined);
  // Another Sluice may run beside this one: a namespace's link is ours if it works on the same maps.
  const ours = new Set([...pinnedMaps, ...onCgroup.flatMap(({ mapIds }) => mapIds)]);
  const onNetns = links.filter(
    ({ netnsInode, mapIds }) => netnsInode !== undefined && mapIds.some((id) => ours.has(id)),
  );
  return [...onCgroup, ...onNetns].flatMap(({ id, name }) => unlessGone(() => detachLink(id, name)) ?? []);
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
