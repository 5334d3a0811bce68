// Attaches the programs to a cgroup by pinned links, and takes over the links that an earlier agent left.
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { BpfLink, type BpfObject } from '@sluice/libbpf';
import { DatapathError } from './errors.js';
import { PROGRAMS, linkPin, linksDirectory, netnsCookieOf } from './layout.js';
import { clearPin, openIfPinned } from './pins.js';

/** What attaching the programs to the cgroup did; it goes into the log. */
export interface AttachResult {
  readonly attached: readonly string[];
  readonly updated: readonly string[];
}

/**
 * Every program ends up attached to the cgroup and pinned. A link that is pinned there already gets the new program by
 * one atomic update. A link that sits on another cgroup or was detached makes way for a new one, and so does anything
 * else. Programs that this version does not have are detached, because nobody writes their maps any more.
 */
export function attachPrograms(object: BpfObject, cgroupPath: string, pinDirectory: string): AttachResult {
  const cgroupId = statSync(cgroupPath, { bigint: true }).ino;
  const attached: string[] = [];
  const updated: string[] = [];
  for (const program of PROGRAMS) {
    const pin = linkPin(pinDirectory, program);
    if (updateLink(object, program, pin, cgroupId)) updated.push(program);
    else {
      clearPin(pin);
      attachLink(object, program, pin, cgroupPath);
      attached.push(program);
    }
  }
  const directory = linksDirectory(pinDirectory);
  for (const name of readdirSync(directory)) {
    if (PROGRAMS.includes(name) || netnsCookieOf(name) !== undefined) continue;
    const pin = join(directory, name);
    using link = openIfPinned(pin, (path) => BpfLink.openPinned(path));
    link?.detach();
    clearPin(pin);
  }
  return { attached, updated };
}

/** False if there is no link to the cgroup; a link to another place is detached. */
function updateLink(object: BpfObject, program: string, pin: string, cgroupId: bigint): boolean {
  using link = openIfPinned(pin, (path) => BpfLink.openPinned(path));
  if (link === undefined) return false;
  if (link.info().cgroupId === cgroupId) {
    link.update(object.program(program));
    return true;
  }
  // Unpinning alone would not do: the kernel would detach the link some time later.
  link.detach();
  return false;
}

function attachLink(object: BpfObject, program: string, pin: string, cgroupPath: string): void {
  try {
    using link = object.program(program).attachCgroup(cgroupPath);
    link.pin(pin);
  } catch (error) {
    throw DatapathError.because('attach', `${program} could not be attached to ${cgroupPath}`, error);
  }
}
