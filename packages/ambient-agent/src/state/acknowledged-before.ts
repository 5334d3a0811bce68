// What an earlier agent saw acknowledged and captured by route, according to the pinned maps, which the kernel has enforced all
// the time.
import { existsSync } from 'node:fs';
import { InstalledDatapath, WorkloadFlag } from '@sluice/datapath';
import { pinDirectory } from '../config/pin-directory.js';
import type { ChangedNetns } from '../pod-netns/memory.js';
import type { AgentState } from './state.js';

/** Cookies of network namespaces whose pods have such flags; undefined if the maps cannot be read. */
function cookiesWith(pins: string, fits: (flags: number) => boolean): ReadonlySet<bigint> | undefined {
  try {
    using installed = InstalledDatapath.open(pins);
    return new Set([...installed.read().netns].filter(([, { flags }]) => fits(flags)).map(([cookie]) => cookie));
  } catch {
    // The maps are of another version, or damaged. The agent's state file is nearly as good.
    return undefined;
  }
}

/** Whether a pod is in the mesh and no longer held. */
const isReleased = (flags: number): boolean =>
  (flags & WorkloadFlag.IN_POD) !== 0 && (flags & WorkloadFlag.PENDING) === 0;

/**
 * The cookies of the namespaces whose pods were captured by route. Call this before the maps are changed.
 * @param state the state that the earlier agent last wrote, if that can be read
 */
export function routedBefore(bpffs: string, state: AgentState | undefined): ReadonlySet<bigint> {
  const pins = pinDirectory(bpffs);
  if (!existsSync(pins)) return new Set();
  const reported = (state?.workloads ?? []).flatMap(({ netnsCookie, capture }) =>
    netnsCookie !== undefined && capture?.by === 'route' ? [BigInt(netnsCookie)] : [],
  );
  return cookiesWith(pins, (flags) => (flags & WorkloadFlag.ROUTE) !== 0) ?? new Set(reported);
}

/**
 * The cookies of the namespaces that were acknowledged, by pod UID. Call this before the maps are changed.
 * @param netns namespaces that an earlier agent changed, by cookie
 * @param state the state that it last wrote, if that can be read
 */
export function acknowledgedBefore(
  bpffs: string,
  netns: ReadonlyMap<bigint, ChangedNetns>,
  state: AgentState | undefined,
): Map<string, bigint> {
  const pins = pinDirectory(bpffs);
  // A reboot removes the pins, and the kernel starts to count cookies again.
  if (!existsSync(pins)) return new Map();
  const reported = (state?.workloads ?? []).flatMap(({ uid, netnsCookie, state: membership }) =>
    netnsCookie === undefined ? [] : [{ uid, cookie: BigInt(netnsCookie), isIn: membership === 'in' }],
  );
  const remembered = [...netns].map(([cookie, { uid }]) => ({ uid, cookie }));
  const wereIn = reported.filter(({ cookie, isIn }) => isIn && netns.has(cookie));
  const released = cookiesWith(pins, isReleased) ?? new Set(wereIn.map(({ cookie }) => cookie));
  // Each of the two files has the UIDs of all pods, in case the other one is damaged.
  const known = [...reported, ...remembered].filter(({ cookie }) => released.has(cookie));
  return new Map(known.map(({ uid, cookie }) => [uid, cookie]));
}
