// Carries out a plan by pinned links, and takes over the links that an earlier agent left.
//
// A connection that is made meanwhile is seen by a program at every moment. Where a program moves from one cgroup to another
// above or below it, both places have it for an instant, and every program can run twice in one call (bpf/rewritten.h).
import { renameSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { BpfError, BpfLink, type BpfObject, type BpfProgram } from '@sluice/libbpf';
import type { AttachPlan, Place } from './attach-plan.js';
import { removePin, withCgroupPins, type CgroupPin } from './cgroup-links.js';
import { CgroupTree } from './cgroup-tree.js';
import { DatapathError } from './errors.js';
import type { HeldLinks } from './held-links.js';
import { PROGRAMS, linkPin, nextLinkPin } from './layout.js';
import { clearPin } from './pins.js';

/** A program at a cgroup. */
export interface Attachment {
  readonly program: string;
  readonly cgroupId: bigint;
}

export interface AttachFailure extends Attachment {
  readonly error: DatapathError;
}

/** What attaching did; it goes into the log. */
export interface AttachResult {
  readonly attached: readonly Attachment[];
  /** Those that an earlier agent had attached, and that have the program of this one now. */
  readonly updated: readonly Attachment[];
  /** Everything else was attached. */
  readonly failures: readonly AttachFailure[];
}

/**
 * Attaches and pins what the plan has and what is not attached yet, in the order of PROGRAMS. A link that an earlier agent
 * pinned gets this agent's program, wherever it is attached. Nothing is detached: {@link detachOthers} does that. A cgroup
 * that is gone is left out. Idempotent.
 *
 * @param root directory of the cgroup that all others are in
 * @param held holds what is attached from now on; what was unpinned of it is pinned again
 */
export function attachPrograms(
  object: BpfObject,
  plan: AttachPlan,
  pinDirectory: string,
  root: string,
  held: HeldLinks,
): AttachResult {
  held.pinAgain();
  const attachAll = (pins: readonly CgroupPin[]): AttachResult => {
    const attaching = new Attaching(pinDirectory, new CgroupTree(root), pins, held);
    for (const name of PROGRAMS) {
      const program = object.program(name);
      const renewed = pins.filter((pin) => pin.program === name && attaching.renew(program, pin));
      const there = new Set(renewed.map(({ cgroupId }) => cgroupId));
      for (const place of plan.get(name) ?? []) if (!there.has(place.id)) attaching.attach(program, place);
    }
    return attaching.result;
  };
  return withCgroupPins(pinDirectory, attachAll, held);
}

/**
 * Detaches what the plan does not have, in the opposite order, and removes what does not belong among the pins: a second
 * link for one place, a link of a program that this version does not have, whose maps nobody writes any more, and what is
 * no link. Returns the names of the links. Idempotent.
 */
export function detachOthers(plan: AttachPlan, pinDirectory: string, held?: HeldLinks): readonly string[] {
  const detach = (pins: readonly CgroupPin[]): readonly string[] => {
    const wanted = new Set(
      [...plan].flatMap(([program, places]) => places.map(({ id }) => linkPin(pinDirectory, program, id))),
    );
    const order = (pin: CgroupPin): number => PROGRAMS.indexOf(pin.program ?? '');
    const others = pins
      .filter(({ path, cgroupId }) => cgroupId === 0n || !wanted.has(path))
      .toSorted((a, b) => order(b) - order(a));
    for (const pin of others) removePin(pin, held);
    return others.filter(({ link }) => link !== undefined).map(({ name }) => name);
  };
  return withCgroupPins(pinDirectory, detach, held);
}

class Attaching {
  readonly #attached: Attachment[] = [];
  readonly #updated: Attachment[] = [];
  readonly #failures: AttachFailure[] = [];
  readonly #pinDirectory: string;
  readonly #tree: CgroupTree;
  readonly #pins: readonly CgroupPin[];
  readonly #held: HeldLinks;

  constructor(pinDirectory: string, tree: CgroupTree, pins: readonly CgroupPin[], held: HeldLinks) {
    this.#pinDirectory = pinDirectory;
    this.#tree = tree;
    this.#pins = pins;
    this.#held = held;
  }

  get result(): AttachResult {
    return { attached: this.#attached, updated: this.#updated, failures: this.#failures };
  }

  /** False if nothing is attached by that pin. */
  renew(program: BpfProgram, pin: CgroupPin): boolean {
    const { link, id, cgroupId, programId, path } = pin;
    if (link === undefined || id === undefined || cgroupId === 0n) return false;
    if (programId === program.id) {
      this.#hold(path, id, program);
      return true;
    }
    const cgroup = this.#tree.pathOf(cgroupId);
    if (cgroup !== undefined && !this.#tree.isOrderAsListed(cgroup, program.attachType ?? '')) {
      this.#replace(program, pin, { path: cgroup, id: cgroupId });
      return true;
    }
    if (!updateUnlessGone(link, program)) return false;
    const proper = linkPin(this.#pinDirectory, program.name, cgroupId);
    // Where two links are for one place, the other one keeps its name, and is detached later.
    const isTaken = this.#pins.some((other) => other.path === proper && other.cgroupId === cgroupId);
    if (!isTaken) {
      clearPin(proper);
      renameSync(path, proper);
    }
    this.#hold(isTaken ? path : proper, id, program);
    this.#updated.push({ program: program.name, cgroupId });
    return true;
  }

  #hold(path: string, id: number, program: BpfProgram): void {
    this.#held.keep(basename(path), id, program.id, () => BpfLink.openPinned(path));
  }

  attach(program: BpfProgram, place: Place): void {
    const pin = linkPin(this.#pinDirectory, program.name, place.id);
    if (this.#pinNew(program, place, pin)) this.#attached.push({ program: program.name, cgroupId: place.id });
  }

  /** Attaches the new program before it detaches the old one. */
  #replace(program: BpfProgram, pin: CgroupPin, place: Place): void {
    const proper = linkPin(this.#pinDirectory, program.name, place.id);
    const next = nextLinkPin(this.#pinDirectory, program.name, place.id);
    // An agent that ended before it could rename its link has left the old one under the other name.
    const name = pin.path === next ? proper : next;
    if (!this.#pinNew(program, place, name)) return;
    removePin(pin, this.#held);
    if (name === next) this.#held.rename(basename(next), basename(proper));
    this.#updated.push({ program: program.name, cgroupId: place.id });
  }

  /** False if the cgroup is gone, or if it failed. */
  #pinNew(program: BpfProgram, place: Place, pin: string): boolean {
    try {
      clearPin(pin);
      const link = program.attachCgroup(place.path);
      // Another cgroup may have that name by now.
      const isSame = link.info().cgroupId === place.id;
      if (isSame) this.#held.add(basename(pin), link, program.id);
      else link.close();
      return isSame;
    } catch (error) {
      if (!isThere(place)) return false;
      const sentence = `${program.name} could not be attached to ${place.path}`;
      this.#failures.push({
        program: program.name,
        cgroupId: place.id,
        error: DatapathError.because('attach', sentence, error),
      });
      return false;
    }
  }
}

const isThere = ({ path, id }: Place): boolean => statSync(path, { bigint: true, throwIfNoEntry: false })?.ino === id;

/** Makes one atomic update. False if the cgroup has gone meanwhile. */
function updateUnlessGone(link: BpfLink, program: BpfProgram): boolean {
  try {
    link.update(program);
    return true;
  } catch (error) {
    if (error instanceof BpfError && error.code === 'ENOLINK') return false;
    throw error;
  }
}
