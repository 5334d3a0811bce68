// The pinned links of programs to cgroups, whichever version of the agent made them.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { BpfLink } from '@sluice/libbpf';
import { linksDirectory, netnsCookieOf, programOf } from './layout.js';
import { clearPin, openIfPinned } from './pins.js';

/** What is pinned among the links, apart from the links of network namespaces. */
export interface CgroupPin {
  readonly name: string;
  readonly path: string;
  /** Undefined if this version has no program of that name. */
  readonly program: string | undefined;
  /** Undefined if what is pinned is no link. */
  readonly link: BpfLink | undefined;
  readonly programId: number;
  /** 0 if it is attached to no cgroup: it was detached, or the cgroup is gone. */
  readonly cgroupId: bigint;
}

/** Opens every pin, runs `use`, and closes them. Throws BpfError without the right to look. */
export function withCgroupPins<T>(pinDirectory: string, use: (pins: readonly CgroupPin[]) => T): T {
  const directory = linksDirectory(pinDirectory);
  const pins: CgroupPin[] = [];
  try {
    for (const name of existsSync(directory) ? readdirSync(directory) : []) {
      if (netnsCookieOf(name) !== undefined) continue;
      const path = join(directory, name);
      const link = openIfPinned(path, (pin) => BpfLink.openPinned(pin));
      const { programId = 0, cgroupId = 0n } = link?.info() ?? {};
      pins.push({ name, path, program: programOf(name), link, programId, cgroupId });
    }
    return use(pins);
  } finally {
    for (const { link } of pins) link?.close();
  }
}

/** Ends the attachment at once, and removes the pin. Unpinning alone would not do: the kernel would detach it some time later. */
export function removePin({ path, link }: CgroupPin): void {
  link?.detach();
  clearPin(path);
}
