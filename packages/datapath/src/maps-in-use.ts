// The maps that the attached programs work on. When somebody has removed the pin of one, it is still the one that counts: a fresh one
// in its place would be written, and the programs would go on with the other.
import { BpfLink, mapInfo, programInfo } from '@sluice/libbpf';
import { withCgroupPins } from './cgroup-links.js';
import { readGuard } from './guard/verification.js';
import { PROGRAMS, netnsLinkPin } from './layout.js';
import { unlessGone } from './links-of-sluice.js';
import { pinnedNetns } from './netns-links.js';
import { openIfPinned } from './pins.js';

/**
 * Ids by the names in the kernel, of the programs whose links are pinned. Where programs of two versions have different maps, those of
 * the ones that an upgrade replaces last. Those of the guard count least: an agent that does not know it has left it on maps of its
 * own. Throws BpfError without the right to look.
 */
export function mapsInUse(pinDirectory: string): ReadonlyMap<string, number> {
  const inNetns = [...pinnedNetns(pinDirectory)].flatMap((cookie) => {
    using link = openIfPinned(netnsLinkPin(pinDirectory, cookie), (pin) => BpfLink.openPinned(pin));
    return link?.info().programId ?? [];
  });
  const atCgroups = withCgroupPins(pinDirectory, (pins) =>
    pins
      .filter(({ cgroupId }) => cgroupId !== 0n)
      .toSorted((a, b) => PROGRAMS.indexOf(a.program ?? '') - PROGRAMS.indexOf(b.program ?? ''))
      .map(({ programId }) => programId),
  );
  const guarding = readGuard(pinDirectory).map(({ programId }) => programId);
  const mapIds = [...guarding, ...inNetns, ...atCgroups].flatMap(
    (id) => unlessGone(() => programInfo(id).mapIds) ?? [],
  );
  // Thousands of programs share some thirty maps.
  const last = [...new Set(mapIds.toReversed())].toReversed();
  return new Map(last.flatMap((id) => unlessGone(() => [[mapInfo(id).name, id] as const]) ?? []));
}
