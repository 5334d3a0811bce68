// The links of a datapath, held open by the agent: one that is unpinned stays attached and is pinned again, and one that is detached,
// or has another program than it was given, is noticed.
import { mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import type { BpfLink, LinkInfo } from '@sluice/libbpf';
import { canPinIn, clearPin, inodeOf } from './pins.js';

export interface HeldLink {
  readonly link: BpfLink;
  readonly id: number;
  /** The program that it was given last. */
  readonly programId: number;
  /** Of the pin's file; undefined while it is not pinned. */
  readonly pinInode: bigint | undefined;
}

/** A held link as it is now. */
export interface SeenLink {
  /** Of its pin. */
  readonly name: string;
  readonly held: HeldLink;
  readonly info: LinkInfo;
}

/** By the names of their pins. */
export class HeldLinks {
  readonly #directory: string;
  readonly #links = new Map<string, HeldLink>();

  /** @param directory where they are pinned */
  constructor(directory: string) {
    this.#directory = directory;
  }

  get(name: string): HeldLink | undefined {
    return this.#links.get(name);
  }

  /** Reads each of them from the kernel. */
  seen(): SeenLink[] {
    return [...this.#links].map(([name, held]) => ({ name, held, info: held.link.info() }));
  }

  /**
   * Owns a link from now on, in the place of a former one, and pins it. While no BPF file system is there it stays unpinned, and so
   * in force only as long as this process lives, until {@link pinAgain}. Throws BpfError, and the link is closed then.
   */
  add(name: string, link: BpfLink, programId: number): void {
    this.#takeOrClose(name, link, programId, () => {
      if (canPinIn(this.#directory)) this.#pin(name, link);
    });
  }

  /** Holds what is pinned under a name, and what its program is now. `open` is asked for it unless that very link is held. */
  keep(name: string, id: number, programId: number, open: () => BpfLink): void {
    const held = this.#links.get(name);
    if (held?.id === id) this.#links.set(name, { ...held, programId });
    else this.#takeOrClose(name, open(), programId);
  }

  /** Gives a link another name, in the place of what is pinned there. Throws the file system's error. */
  rename(from: string, to: string): void {
    const held = this.#links.get(from);
    if (held === undefined) return;
    this.drop(to);
    clearPin(join(this.#directory, to));
    if (this.isPinned(from)) renameSync(join(this.#directory, from), join(this.#directory, to));
    this.#links.delete(from);
    this.#links.set(to, held);
  }

  /** Forgets a link, which stays as it is unless this was the last who held it. */
  drop(name: string): void {
    this.#links.get(name)?.link.close();
    this.#links.delete(name);
  }

  /**
   * Pins again what somebody has unpinned, in the place of whatever is there now, unless it is attached to nothing any more. Does nothing
   * while no BPF file system is there. Throws BpfError or the file system's error, and holds what it held.
   */
  pinAgain(): void {
    const canPin = canPinIn(this.#directory);
    for (const { name, held, info } of this.seen()) {
      if (!canPin || !isAttached(info) || this.isPinned(name)) continue;
      this.#pin(name, held.link);
      this.#take(name, held.link, held.programId);
    }
  }

  /** Whether the pin of a held link is there, and is its own. */
  isPinned(name: string): boolean {
    const inode = this.#links.get(name)?.pinInode;
    return inode !== undefined && inodeOf(join(this.#directory, name)) === inode;
  }

  close(): void {
    for (const name of this.#links.keys()) this.drop(name);
  }

  #pin(name: string, link: BpfLink): void {
    const pin = join(this.#directory, name);
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    clearPin(pin);
    link.pin(pin);
  }

  #takeOrClose(name: string, link: BpfLink, programId: number, before?: () => void): void {
    try {
      before?.();
      this.#take(name, link, programId);
    } catch (error) {
      link.close();
      throw error;
    }
  }

  /** If it throws, the former link is still held. */
  #take(name: string, link: BpfLink, programId: number): void {
    const { id } = link.info();
    const pinInode = inodeOf(join(this.#directory, name));
    const former = this.#links.get(name)?.link;
    this.#links.set(name, { link, id, programId, pinInode });
    if (former !== link) former?.close();
  }
}

/** False once it was detached, or what it was attached to is gone. One of neither kind cannot be detached: it lasts as long as it is open. */
export const isAttached = ({ cgroupId, netnsInode }: LinkInfo): boolean => cgroupId !== 0n && netnsInode !== 0;
