// The links of the guard: pinned by the names of their parts, kept over a restart, replaced by another version without a gap.
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { BpfLink, openObject, programInfo, type BpfMap, type BpfObject, type BpfProgram } from '@sluice/libbpf';
import type { Netns } from '@sluice/linux';
import { DatapathError } from '../errors.js';
import { guardDirectory } from '../layout.js';
import { canPinIn, clearPin, inodeOf, openIfPinned } from '../pins.js';
import { GUARD_PARTS, isNotOfThisMachine, isPassing, parts, type GuardPart, type MissingGuardPart } from './parts.js';

export const guardPin = (pinDirectory: string, part: GuardPart): string => join(guardDirectory(pinDirectory), part);

/** Where a link is pinned that is to take the place of another one. There are several if agents have ended before they could do that. */
const nextPin = (pin: string, number: number): string => `${pin}-next-${number}`;

/** A pin as it was made or found. Another object at its path is not it: the link has ended with its own pin. */
interface OwnPin {
  readonly path: string;
  readonly inode: bigint | undefined;
}

export class GuardLinks {
  readonly #pinDirectory: string;
  readonly #objectPath: string;
  readonly #maps: Readonly<Record<string, BpfMap>>;
  #missing: readonly MissingGuardPart[] = [];
  /** Of every part that has been attached, until it is attached anew: one that has ended and could not be is wanted all the same. */
  readonly #pins = new Map<GuardPart, OwnPin>();
  /** The parts that this kind of machine has not. */
  readonly #absent = new Set<GuardPart>();
  #letGo: BpfLink | undefined;

  /** `maps`: those of the datapath by their names in C, which must stay open as long as this is used. */
  constructor(pinDirectory: string, objectPath: string, maps: Readonly<Record<string, BpfMap>>) {
    this.#pinDirectory = pinDirectory;
    this.#objectPath = objectPath;
    this.#maps = maps;
  }

  get missing(): readonly MissingGuardPart[] {
    return this.#missing;
  }

  /** The parts that were attached and are not pinned any more, which has ended them. */
  lost(): readonly GuardPart[] {
    return [...this.#pins.keys()].filter((part) => !this.#isPinned(part));
  }

  /**
   * Attaches what is not attached. What an earlier agent attached goes on beside it, whose maps may differ, until {@link endFormer}: a pod
   * that comes meanwhile is seen by both. Throws DatapathError not-bpffs or the file system's error if nothing can be pinned, and
   * everything is as before then.
   */
  attach(): void {
    const directory = guardDirectory(this.#pinDirectory);
    if (!canPinIn(directory))
      throw new DatapathError('not-bpffs', `no BPF file system is mounted for ${directory}; mount one`);
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const whyNot = whyNotLetGo();
    const missing: MissingGuardPart[] = [];
    for (const part of GUARD_PARTS.filter((each) => !this.#absent.has(each))) {
      try {
        const isNew = !this.#isPinned(part);
        if (isNew) this.#attachBeside(part);
        if (part === 'let_go' && whyNot === undefined && (isNew || !this.canLetGo)) this.#openLetGo();
      } catch (error) {
        const wasThere = this.#pins.has(part);
        const why = error instanceof Error ? error.message : String(error);
        if (!wasThere && isNotOfThisMachine(parts[part], error)) this.#absent.add(part);
        else missing.push({ part, why, isPassing: wasThere || isPassing(error) });
      }
    }
    if (whyNot !== undefined && !missing.some(({ part }) => part === 'let_go'))
      missing.push({ part: 'let_go', why: whyNot, isPassing: false });
    this.#missing = missing;
  }

  /** Ends what an earlier agent attached, when the programs that ask the maps ask those of this one. Idempotent. */
  endFormer(): void {
    for (const part of this.attached) {
      const own = this.#pins.get(part)?.path;
      const pin = guardPin(this.#pinDirectory, part);
      if (own === undefined || own === pin) continue;
      endLink(pin);
      renameSync(own, pin);
      this.#own(part, pin);
    }
    const directory = guardDirectory(this.#pinDirectory);
    const known: readonly string[] = GUARD_PARTS;
    for (const name of existsSync(directory) ? readdirSync(directory) : [])
      if (!known.includes(name)) endLink(join(directory, name));
  }

  /** How many listeners. */
  letGo(netns: Netns): number {
    if (this.#letGo === undefined) {
      const why = this.#missing.find(({ part }) => part === 'let_go')?.why ?? 'it is not attached';
      throw new DatapathError('attach', `the guard cannot let listeners go in ${netns.path}: ${why}`);
    }
    const outcomes = [...this.#letGo.iterate(netns)];
    const left = outcomes.filter((outcome) => outcome === 0).length;
    if (left > 0) {
      throw new DatapathError(
        'attach',
        `${left} listeners of pods could not be let go in ${netns.path}, and nobody reaches them: that takes CAP_NET_RAW`,
      );
    }
    return outcomes.length;
  }

  /** Whether {@link letGo} can. What was attached last can do it as long as this is open, although somebody has unpinned it. */
  get canLetGo(): boolean {
    return this.#letGo !== undefined;
  }

  /** In the order of {@link GUARD_PARTS}. */
  get attached(): readonly GuardPart[] {
    return GUARD_PARTS.filter((part) => this.#isPinned(part));
  }

  close(): void {
    this.#letGo?.close();
    this.#letGo = undefined;
  }

  #isPinned(part: GuardPart): boolean {
    const own = this.#pins.get(part);
    return own?.inode !== undefined && inodeOf(own.path) === own.inode;
  }

  #own(part: GuardPart, path: string): void {
    this.#pins.set(part, { path, inode: inodeOf(path) });
  }

  /** What is there already and will do stays. Each is loaded by itself, so that a kernel without one has the others. */
  #attachBeside(part: GuardPart): void {
    const { program: name, attach } = parts[part];
    const pin = guardPin(this.#pinDirectory, part);
    using object = this.#load(name);
    const program = object.program(name);
    let own = pin;
    for (let number = 1; !isCurrent(own, program); number += 1) {
      if (!isLink(own)) {
        using link = attach(program);
        clearPin(own);
        link.pin(own);
        break;
      }
      own = nextPin(pin, number);
    }
    this.#own(part, own);
  }

  /** In the place of the former one, which goes on until then. */
  #openLetGo(): void {
    const own = this.#pins.get('let_go');
    if (own === undefined) return;
    const link = BpfLink.openPinned(own.path);
    this.close();
    this.#letGo = link;
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

function isLink(pin: string): boolean {
  using link = openIfPinned(pin, (path) => BpfLink.openPinned(path));
  return link !== undefined;
}

/** Whether the program that is pinned is the same one on the same maps. */
function isCurrent(pin: string, program: BpfProgram): boolean {
  using link = openIfPinned(pin, (path) => BpfLink.openPinned(path));
  if (link === undefined) return false;
  const [pinned, wanted] = [programInfo(link.info().programId), program.info()];
  return (
    pinned.name === wanted.name &&
    pinned.tag === wanted.tag &&
    pinned.mapIds.length === wanted.mapIds.length &&
    wanted.mapIds.every((id) => pinned.mapIds.includes(id))
  );
}

/** Ends an attachment: it lasts until nobody has the link open, and closing is what the kernel does at once. False if there was none. */
export function endLink(pin: string): boolean {
  if (!existsSync(pin)) return false;
  using link = openIfPinned(pin, (path) => BpfLink.openPinned(path));
  clearPin(pin);
  return link !== undefined;
}
