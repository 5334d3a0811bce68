// What ought to be in the kernel and is not: somebody has taken it away since the agent put it there. The kernel is asked, and nothing
// is remembered except what was done.
import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { BpfObject } from '@sluice/libbpf';
import type { AttachPlan } from './attach-plan.js';
import { isAttached, type HeldLinks, type SeenLink } from './held-links.js';
import { linkPin, linksDirectory, mapPin, netnsCookieOf } from './layout.js';
import type { KeptMap } from './kept-map.js';
import type { MapPins } from './map-pins.js';
import { canPinIn } from './pins.js';

/**
 * `program`, `inbound`: it is attached no more, at a cgroup or to a network namespace. `replaced`: another program is in the place of ours.
 * `holder`: what waits for ztunnel is refused. `entry`: a map does not hold what was written. `pin`: what was pinned is in force, and would
 * go with the agent. `bpffs`: there is nothing to pin in.
 */
export type MissingKind = 'program' | 'inbound' | 'replaced' | 'holder' | 'entry' | 'pin' | 'bpffs';

export interface MissingPart {
  readonly kind: MissingKind;
  /** What is not as it should be, as a clause without a subject's article: "sluice_connect4 is not attached to /sys/fs/cgroup/kubepods". */
  readonly what: string;
  /** Of a program at a cgroup. */
  readonly program?: string;
  /** The cgroup below which nobody is subject to the program. */
  readonly cgroupId?: bigint;
  /** The network namespace whose inbound connections are not captured. If nobody holds it open, it may be the namespace that is gone. */
  readonly netnsCookie?: bigint;
}

export interface Wanted {
  readonly object: BpfObject;
  /** The plan that was carried out last. */
  readonly plan: AttachPlan;
  readonly pinDirectory: string;
  readonly held: HeldLinks;
  readonly mapPins: MapPins;
  /** Whether a socket was given that holds connections, and is not there any more. */
  readonly lacksHolder: boolean;
  /** By the names of the maps. */
  readonly kept: Iterable<readonly [name: string, map: Pick<KeptMap, 'difference'>]>;
}

const NO_HOLDER: MissingPart = {
  kind: 'holder',
  what: 'the socket that holds connections is not in the map, so that what has to wait for ztunnel is refused',
};

/** One for each map that does not hold what was written. Throws BpfError. */
export function otherEntries(kept: Wanted['kept']): MissingPart[] {
  return [...kept].flatMap(([name, map]) => {
    const difference = map.difference();
    return difference === undefined
      ? []
      : [{ kind: 'entry' as const, what: `entries of the map ${name} are not as they were written: ${difference}` }];
  });
}

/**
 * Cheap enough to be asked every second: one call for each link, one for each pin, and one for each thousand entries. Throws BpfError.
 */
export function missingParts(wanted: Wanted): MissingPart[] {
  const { object, plan, held } = wanted;
  const seen = held.seen();
  const byName = new Map(seen.map((one) => [one.name, one]));
  const parts: MissingPart[] = [];
  for (const [program, places] of plan) {
    for (const { path, id } of places) {
      const one = byName.get(nameOf(linkPin(wanted.pinDirectory, program, id)));
      // One that never could be attached is a failure of the call. A link ends with its cgroup.
      if (one === undefined || statSync(path, { bigint: true, throwIfNoEntry: false })?.ino !== id) continue;
      const said = { name: program, where: `to ${path}`, program, cgroupId: id };
      parts.push(...ofLink(one, object.program(program).id, 'program', said));
    }
  }
  for (const one of seen) {
    const netnsCookie = netnsCookieOf(one.name);
    if (netnsCookie === undefined) continue;
    const said = { name: 'the inbound program', where: `to the network namespace ${netnsCookie}`, netnsCookie };
    parts.push(...ofLink(one, one.held.programId, 'inbound', said));
  }
  return [
    ...parts,
    ...(wanted.lacksHolder ? [NO_HOLDER] : []),
    ...otherEntries(wanted.kept),
    ...missingPins(wanted, seen),
  ];
}

interface Said {
  readonly name: string;
  readonly where: string;
  readonly program?: string;
  readonly cgroupId?: bigint;
  readonly netnsCookie?: bigint;
}

function ofLink(
  { info }: SeenLink,
  programId: number,
  kind: 'program' | 'inbound',
  { name, where, ...whose }: Said,
): MissingPart[] {
  if (!isAttached(info)) return [{ kind, what: `${name} is not attached ${where}`, ...whose }];
  if (info.programId === programId) return [];
  return [{ kind: 'replaced', what: `another program is in the place of ${name}, attached ${where}`, ...whose }];
}

function missingPins({ pinDirectory, held, mapPins }: Wanted, seen: readonly SeenLink[]): MissingPart[] {
  if (!canPinIn(pinDirectory)) {
    const what = `no BPF file system is mounted for ${pinDirectory}, so that nothing stays in force when the agent ends; mount one: mount -t bpf bpf /sys/fs/bpf`;
    return [{ kind: 'bpffs', what }];
  }
  const maps = mapPins.missing().map((name) => mapPin(pinDirectory, name));
  const links = seen
    .filter(({ name, info }) => isAttached(info) && !held.isPinned(name))
    .map(({ name }) => join(linksDirectory(pinDirectory), name));
  return [...maps, ...links].map((path) => ({ kind: 'pin', what: `${path} is not pinned` }));
}

const nameOf = (pin: string): string => pin.slice(pin.lastIndexOf('/') + 1);
