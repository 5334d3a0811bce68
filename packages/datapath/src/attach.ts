// Attaches the programs to a cgroup by pinned links, and takes over the links that an earlier agent left.
import { existsSync, statSync } from 'node:fs';
import { BpfLink, type BpfObject } from '@sluice/libbpf';
import { DatapathError } from './errors.js';
import { PROGRAMS, linkPin } from './layout.js';

/** What attaching did, for the log. */
export interface AttachResult {
  readonly attached: readonly string[];
  readonly updated: readonly string[];
}

/**
 * Every program ends up attached to the cgroup and pinned. A link that is pinned there already gets the new program by one atomic
 * update; one that sits on another cgroup, or was detached, makes way for a new one.
 */
export function attachPrograms(object: BpfObject, cgroupPath: string, pinDirectory: string): AttachResult {
  const cgroupId = statSync(cgroupPath, { bigint: true }).ino;
  const attached: string[] = [];
  const updated: string[] = [];
  for (const { program } of PROGRAMS) {
    const pin = linkPin(pinDirectory, program);
    if (existsSync(pin) && updateLink(object, program, pin, cgroupId)) updated.push(program);
    else {
      attachLink(object, program, pin, cgroupPath);
      attached.push(program);
    }
  }
  return { attached, updated };
}

/** False if the pinned link is of no use here; it is unpinned then, which detaches it. */
function updateLink(object: BpfObject, program: string, pin: string, cgroupId: bigint): boolean {
  using link = BpfLink.openPinned(pin);
  if (link.info().cgroupId === cgroupId) {
    link.update(object.program(program));
    return true;
  }
  link.unpin();
  return false;
}

function attachLink(object: BpfObject, program: string, pin: string, cgroupPath: string): void {
  try {
    using link = object.program(program).attachCgroup(cgroupPath);
    link.pin(pin);
  } catch (error) {
    throw new DatapathError(
      'attach',
      `${program} could not be attached to ${cgroupPath}: ${(error as Error).message}`,
      {
        cause: error,
      },
    );
  }
}
