// Removes everything of the datapath from the node: attachments first, then pins.
import { existsSync, readdirSync, rmdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { BpfLink } from '@sluice/libbpf';
import { PROGRAMS, linkPin, linksDirectory, mapsDirectory } from './layout.js';

/** What was removed, by path or name. */
export interface CleanupResult {
  readonly detached: readonly string[];
  readonly unpinned: readonly string[];
}

/**
 * Detaches and unpins everything below the pin directory. `connect` goes first, so that no connection is redirected after
 * the programs that carry its original destination have gone. Idempotent.
 */
export function cleanup(pinDirectory: string): CleanupResult {
  const detached: string[] = [];
  const unpinned: string[] = [];
  for (const { program } of PROGRAMS.toReversed()) {
    const pin = linkPin(pinDirectory, program);
    if (!existsSync(pin)) continue;
    using link = BpfLink.openPinned(pin);
    link.detach();
    link.unpin();
    detached.push(program);
  }
  for (const directory of [linksDirectory(pinDirectory), mapsDirectory(pinDirectory)]) {
    if (!existsSync(directory)) continue;
    for (const name of readdirSync(directory)) {
      unlinkSync(join(directory, name));
      unpinned.push(join(directory, name));
    }
    rmdirSync(directory);
  }
  if (existsSync(pinDirectory) && readdirSync(pinDirectory).length === 0) rmdirSync(pinDirectory);
  return { detached, unpinned };
}
