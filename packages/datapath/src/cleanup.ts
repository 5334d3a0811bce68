// Removes everything of the datapath from the node: attachments first, then pins.
import { existsSync, readdirSync, rmdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { BpfError, BpfLink, linkIds, linkInfo, programInfo } from '@sluice/libbpf';
import { PROGRAMS, linkPin, linksDirectory, mapsDirectory } from './layout.js';
import { clearPin, openIfPinned } from './pins.js';

/** What was removed, by path or name. */
export interface CleanupResult {
  readonly detached: readonly string[];
  readonly unpinned: readonly string[];
}

/** The kernel cuts names to 15 characters: enough of every program's to know it by. */
const PROGRAM_PREFIX = 'sluice_';

/**
 * Detaches and unpins everything below the pin directory, and, where a cgroup is named, what is attached to it without a
 * pin. `connect` goes first, so that no connection is redirected after the programs that carry its original destination
 * have gone. Idempotent.
 */
export function cleanup(pinDirectory: string, cgroup?: string): CleanupResult {
  const detached: string[] = [];
  const unpinned: string[] = [];
  for (const { program } of PROGRAMS.toReversed()) {
    const pin = linkPin(pinDirectory, program);
    using link = openIfPinned(pin, (path) => BpfLink.openPinned(path));
    if (link === undefined) continue;
    link.detach();
    link.unpin();
    detached.push(program);
  }
  if (cgroup !== undefined && existsSync(cgroup)) detached.push(...detachStrays(cgroup));
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

/** Links of ours that no pin names: an agent that was killed between attaching and pinning leaves none, a lost bpffs does. */
function detachStrays(cgroup: string): string[] {
  const cgroupId = statSync(cgroup, { bigint: true }).ino;
  const names: string[] = [];
  for (const id of linkIds()) {
    try {
      const { cgroupId: where, programId } = linkInfo(id);
      if (where !== cgroupId) continue;
      const { name } = programInfo(programId);
      if (!name.startsWith(PROGRAM_PREFIX)) continue;
      using link = BpfLink.openId(id);
      link.detach();
      names.push(name);
    } catch (error) {
      // It went by itself meanwhile.
      if (!(error instanceof BpfError) || error.code !== 'ENOENT') throw error;
    }
  }
  return names;
}
