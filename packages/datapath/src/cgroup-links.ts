// The pinned links of programs to cgroups, whichever version of the agent made them.
import { existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { BpfLink, type LinkInfo } from '@sluice/libbpf';
import type { HeldLinks } from './held-links.js';
import { linksDirectory, netnsCookieOf, programOf } from './layout.js';
import { clearPin, openIfPinned } from './pins.js';

/** What is pinned among the links, or was, apart from the links of network namespaces. */
export interface CgroupPin {
  readonly name: string;
  readonly path: string;
  /** Undefined if this version has no program of that name. */
  readonly program: string | undefined;
  /** Undefined if what is pinned is no link. */
  readonly link: BpfLink | undefined;
  /** Undefined if what is pinned is no link. */
  readonly id: number | undefined;
  readonly programId: number;
  /** 0 if it is attached to no cgroup: it was detached, or the cgroup is gone. */
  readonly cgroupId: bigint;
}

/**
 * Opens every pin, runs `use`, and closes them. Held links that are not pinned count as if they were. Throws BpfError without the right
 * to look.
 */
export function withCgroupPins<T>(pinDirectory: string, use: (pins: readonly CgroupPin[]) => T, held?: HeldLinks): T {
  const directory = linksDirectory(pinDirectory);
  const pins: CgroupPin[] = [];
  try {
    for (const name of existsSync(directory) ? readdirSync(directory) : []) {
      if (netnsCookieOf(name) !== undefined) continue;
      const link = openIfPinned(join(directory, name), (pin) => BpfLink.openPinned(pin));
      pins.push(pinOf(directory, name, link, link?.info()));
    }
    const unpinned = (held?.seen() ?? []).filter(({ name }) => programOf(name) !== undefined && !held?.isPinned(name));
    return use([...pins, ...unpinned.map(({ name, held: { link }, info }) => pinOf(directory, name, link, info))]);
  } finally {
    for (const { link } of pins) link?.close();
  }
}

const pinOf = (directory: string, name: string, link: BpfLink | undefined, info: LinkInfo | undefined): CgroupPin => ({
  name,
  path: join(directory, name),
  program: programOf(name),
  link,
  id: info?.id,
  programId: info?.programId ?? 0,
  cgroupId: info?.cgroupId ?? 0n,
});

/** Ends the attachment at once, and removes the pin. Unpinning alone would not do: the kernel would detach it some time later. */
export function removePin({ path, link }: CgroupPin, held?: HeldLinks): void {
  link?.detach();
  held?.drop(basename(path));
  clearPin(path);
}
