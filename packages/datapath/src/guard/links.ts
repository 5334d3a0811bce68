// The links of the guard: pinned by the names of their parts, held open by the agent so that they outlive their pins, kept over a restart,
// replaced by another version without a gap.
import { existsSync, mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  BpfLink,
  openObject,
  programInfo,
  type BpfMap,
  type BpfObject,
  type BpfProgram,
  type ProgramInfo,
} from '@sluice/libbpf';
import type { Netns } from '@sluice/linux';
import { DatapathError } from '../errors.js';
import { HeldLinks } from '../held-links.js';
import { guardDirectory } from '../layout.js';
import { canPinIn, clearPin, openIfPinned } from '../pins.js';
import { GUARD_PARTS, isNotOfThisMachine, isPassing, parts, type GuardPart, type MissingGuardPart } from './parts.js';

export const guardPin = (pinDirectory: string, part: GuardPart): string => join(guardDirectory(pinDirectory), part);

/** Under which a link is pinned that is to take the place of another one. There are several if agents have ended before they could do that. */
const nextName = (part: GuardPart, number: number): string => `${part}-next-${number}`;

export class GuardLinks {
  readonly #directory: string;
  readonly #objectPath: string;
  readonly #maps: Readonly<Record<string, BpfMap>>;
  readonly #held: HeldLinks;
  /** The names of the pins of the parts that are attached. */
  readonly #names = new Map<GuardPart, string>();
  /** The parts that this kind of machine has not. */
  readonly #absent = new Set<GuardPart>();
  #missing: readonly MissingGuardPart[] = [];

  /** `maps`: those of the datapath by their names in C, which must stay open as long as this is used. */
  constructor(pinDirectory: string, objectPath: string, maps: Readonly<Record<string, BpfMap>>) {
    this.#directory = guardDirectory(pinDirectory);
    this.#objectPath = objectPath;
    this.#maps = maps;
    this.#held = new HeldLinks(this.#directory);
  }

  get missing(): readonly MissingGuardPart[] {
    return this.#missing;
  }

  /** The attached parts whose pins somebody has taken away: they end with this process. */
  unpinned(): readonly GuardPart[] {
    return this.attached.filter((part) => !this.#held.isPinned(this.#nameOf(part)));
  }

  /**
   * Attaches what is not attached, and pins again what is not pinned. What an earlier agent attached goes on beside it, whose maps may
   * differ, until {@link endFormer}: a pod that comes meanwhile is seen by both. Throws DatapathError not-bpffs, BpfError or the file
   * system's error if something cannot be pinned; what is attached stays so.
   */
  attach(): void {
    if (!canPinIn(this.#directory))
      throw new DatapathError('not-bpffs', `no BPF file system is mounted for ${this.#directory}; mount one`);
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    const missing: MissingGuardPart[] = [];
    for (const part of GUARD_PARTS.filter((each) => !this.#absent.has(each))) {
      try {
        if (!this.#names.has(part)) this.#attachBeside(part);
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        if (isNotOfThisMachine(parts[part], error)) this.#absent.add(part);
        else missing.push({ part, why, isPassing: isPassing(error) });
      }
    }
    const whyNot = whyNotLetGo();
    if (whyNot !== undefined && !missing.some(({ part }) => part === 'let_go'))
      missing.push({ part: 'let_go', why: whyNot, isPassing: false });
    this.#missing = missing;
    this.#held.pinAgain();
  }

  /** Ends what an earlier agent attached, when the programs that ask the maps ask those of this one. Idempotent. */
  endFormer(): void {
    for (const [part, name] of this.#names) {
      if (name === part) continue;
      this.#held.rename(name, part);
      this.#names.set(part, part);
    }
    const known: readonly string[] = GUARD_PARTS;
    for (const name of existsSync(this.#directory) ? readdirSync(this.#directory) : [])
      if (!known.includes(name)) endLink(join(this.#directory, name));
  }

  /** How many listeners. */
  letGo(netns: Netns): number {
    const link = this.canLetGo ? this.#held.get(this.#nameOf('let_go'))?.link : undefined;
    if (link === undefined) {
      const why = this.#missing.find(({ part }) => part === 'let_go')?.why ?? 'it is not attached';
      throw new DatapathError('attach', `the guard cannot let listeners go in ${netns.path}: ${why}`);
    }
    const outcomes = [...link.iterate(netns)];
    const left = outcomes.filter((outcome) => outcome === 0).length;
    if (left > 0) {
      throw new DatapathError(
        'attach',
        `${left} listeners of pods could not be let go in ${netns.path}, and nobody reaches them: that takes CAP_NET_RAW`,
      );
    }
    return outcomes.length;
  }

  /** Whether {@link letGo} can. */
  get canLetGo(): boolean {
    return this.#names.has('let_go') && !this.#missing.some(({ part }) => part === 'let_go');
  }

  /** In the order of {@link GUARD_PARTS}. Nobody can detach such links: they last as long as this process has them open. */
  get attached(): readonly GuardPart[] {
    return GUARD_PARTS.filter((part) => this.#names.has(part));
  }

  /** What is pinned stays attached. */
  close(): void {
    this.#held.close();
    this.#names.clear();
  }

  #nameOf(part: GuardPart): string {
    return this.#names.get(part) ?? part;
  }

  /** What is there already and will do stays. Each is loaded by itself, so that a kernel without one has the others. */
  #attachBeside(part: GuardPart): void {
    const { program: programName, attach } = parts[part];
    using object = this.#load(programName);
    const program = object.program(programName);
    let name: string = part;
    for (let number = 1; ; number += 1) {
      const former = openIfPinned(join(this.#directory, name), (pin) => BpfLink.openPinned(pin));
      if (former === undefined) {
        this.#held.add(name, attach(program), program.id);
        break;
      }
      if (this.#keepIfCurrent(name, former, program)) break;
      name = nextName(part, number);
    }
    this.#names.set(part, name);
  }

  /** Owns the link: it is held if its program is the same one on the same maps, and closed otherwise. */
  #keepIfCurrent(name: string, link: BpfLink, program: BpfProgram): boolean {
    let isKept = false;
    try {
      const { id, programId } = link.info();
      if (!isSame(programInfo(programId), program.info())) return false;
      isKept = true;
      this.#held.keep(name, id, programId, () => link);
      return true;
    } finally {
      if (!isKept) link.close();
    }
  }

  #load(name: string): BpfObject {
    const shared = Object.fromEntries(
      Object.entries(this.#maps).map(([map, reuse]) => [map, { reuse, maxEntries: reuse.maxEntries }]),
    );
    const object = openObject(this.#objectPath, { maps: shared, autoload: (each) => each === name });
    try {
      object.load();
      return object;
    } catch (error) {
      object.close();
      throw error;
    }
  }
}

/** CAP_NET_RAW of linux/capability.h. */
const NET_RAW = 1n << 13n;

/** The kernel lets only such a process take a socket from its device (sock_bindtoindex_locked of net/core/sock.c). */
function whyNotLetGo(): string | undefined {
  const [, effective = '0'] = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  return (BigInt(`0x${effective}`) & NET_RAW) === 0n
    ? 'this process lacks CAP_NET_RAW, without which a listener that is held could not be let go'
    : undefined;
}

const isSame = (pinned: ProgramInfo, wanted: ProgramInfo): boolean =>
  pinned.name === wanted.name &&
  pinned.tag === wanted.tag &&
  pinned.mapIds.length === wanted.mapIds.length &&
  wanted.mapIds.every((id) => pinned.mapIds.includes(id));

/** Ends an attachment: it lasts until nobody has the link open, and closing is what the kernel does at once. False if there was none. */
export function endLink(pin: string): boolean {
  if (!existsSync(pin)) return false;
  using link = openIfPinned(pin, (path) => BpfLink.openPinned(path));
  clearPin(pin);
  return link !== undefined;
}
