// What an earlier agent had seen acknowledged. The pinned maps say it: they are what the kernel has enforced all the while.
import { existsSync } from 'node:fs';
import { InstalledDatapath, WorkloadFlag } from '@sluice/datapath';
import { pinDirectory } from '../config/pin-directory.js';
import { readNetnsMemory } from '../pod-netns/memory.js';
import { readState } from './state.js';

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

/** By pod UID, the cookie of the namespace that was acknowledged. Read it before the maps are touched. */
export function acknowledgedBefore({
  runDir,
  bpffs,
  proc,
}: {
  readonly runDir: string;
  readonly bpffs: string;
  readonly proc: string;
}): Map<string, bigint> {
  const pins = pinDirectory(bpffs);
  // A reboot takes the pins, and gives the cookies out anew.
  if (!existsSync(pins)) return new Map();
  const known = [...readNetnsMemory(runDir)].map(([cookie, { uid }]) => [uid, cookie] as const);
  const released = releasedByMaps(pins);
  if (released !== undefined) return new Map(known.filter(([, cookie]) => released.has(cookie)));
  const reading = readState(runDir, proc);
  const workloads = reading.kind === 'state' ? reading.state.workloads : [];
  const wereIn = new Map(
    workloads.filter(({ state }) => state === 'in').map(({ uid, netnsCookie }) => [uid, netnsCookie]),
  );
  return new Map(known.filter(([uid, cookie]) => wereIn.get(uid) === String(cookie)));
}
