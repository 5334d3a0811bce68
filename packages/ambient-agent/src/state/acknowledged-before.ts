// What an earlier agent had seen acknowledged. The pinned maps say it: they are what the kernel has enforced all the while.
import { existsSync } from 'node:fs';
import { InstalledDatapath, WorkloadFlag } from '@sluice/datapath';
import { pinDirectory } from '../config/pin-directory.js';
import type { ChangedNetns } from '../pod-netns/memory.js';
import type { AgentState } from './state.js';

/** Cookies of network namespaces whose pods are in the mesh and held no more; undefined when the maps cannot be read. */
function releasedByMaps(pins: string): ReadonlySet<bigint> | undefined {
  try {
    using installed = InstalledDatapath.open(pins);
    const isReleased = (flags: number): boolean =>
      (flags & WorkloadFlag.IN_POD) !== 0 && (flags & WorkloadFlag.PENDING) === 0;
    return new Set([...installed.read().netns].filter(([, { flags }]) => isReleased(flags)).map(([cookie]) => cookie));
  } catch {
    // Of another version, or damaged: what the agent wrote beside them is nearly as good.
    return undefined;
  }
}

/**
 * By pod UID, the cookie of the namespace that was acknowledged. Read it before the maps are touched.
 * @param netns namespaces in which an earlier agent left something, by cookie
 * @param state what it last wrote, if that can be read
 */
export function acknowledgedBefore(
  bpffs: string,
  netns: ReadonlyMap<bigint, ChangedNetns>,
  state: AgentState | undefined,
): Map<string, bigint> {
  const pins = pinDirectory(bpffs);
  // A reboot takes the pins, and gives the cookies out anew.
  if (!existsSync(pins)) return new Map();
  const reported = (state?.workloads ?? []).flatMap(({ uid, netnsCookie, state: membership }) =>
    netnsCookie === undefined ? [] : [{ uid, cookie: BigInt(netnsCookie), isIn: membership === 'in' }],
  );
  const remembered = [...netns].map(([cookie, { uid }]) => ({ uid, cookie }));
  const wereIn = reported.filter(({ cookie, isIn }) => isIn && netns.has(cookie));
  const released = releasedByMaps(pins) ?? new Set(wereIn.map(({ cookie }) => cookie));
  // Each of the two files knows the UIDs of all pods, should the other be damaged.
  const known = [...reported, ...remembered].filter(({ cookie }) => released.has(cookie));
  return new Map(known.map(({ uid, cookie }) => [uid, cookie]));
}
