// Programs that are not ours, attached beside ours (foreign.bpf.c).
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { openObject, type BpfLink, type BpfObject } from '@sluice/libbpf';
import { Netns } from '@sluice/linux';

const OBJECT = fileURLToPath(new URL('../build/test/foreign.bpf.o', import.meta.url));
const LOOKUP = 'foreign_lookup';
const LOOPBACK = 'foreign_loopback';

/** `enum sight`, in its order. */
const SIGHTS = ['ztunnel-binds', 'round-trip', 'accepted-with-both-marks', 'steered'] as const;
export type Sight = (typeof SIGHTS)[number];

const index = (value: number): Buffer => {
  const key = Buffer.alloc(4);
  key.writeUInt32LE(value);
  return key;
};

export class ForeignPrograms {
  readonly #object: BpfObject;
  readonly #links: BpfLink[] = [];

  constructor() {
    this.#object = openObject(OBJECT);
    this.#object.load();
  }

  /** Every one that belongs on a cgroup. */
  attachCgroup(path: string): void {
    for (const program of this.#object.programs())
      if (program.name !== LOOKUP && program.name !== LOOPBACK) this.#links.push(program.attachCgroup(path));
  }

  /** The two that belong in a network namespace. */
  attachNetns(path: string): void {
    using netns = Netns.open(path);
    this.#links.push(this.#object.program(LOOKUP).attachNetns(netns));
    const tc = (...words: string[]): unknown => execFileSync('nsenter', [`--net=${path}`, 'tc', ...words]);
    tc('qdisc', 'add', 'dev', 'lo', 'clsact');
    // The section of foreign_loopback, which needs none of the maps that the others share.
    tc('filter', 'add', 'dev', 'lo', 'ingress', 'bpf', 'direct-action', 'object-file', OBJECT, 'section', 'tc');
  }

  /** Who gets what arrives for the port that foreign_lookup steers. */
  steerTo(socketFd: number): void {
    const value = Buffer.alloc(8);
    value.writeBigUInt64LE(BigInt(socketFd));
    this.#object.map('steered').update(index(0), value);
  }

  /** How often one of them has seen its like so far. */
  seen(sight: Sight): bigint {
    return (
      this.#object
        .map('sights')
        .lookup(index(SIGHTS.indexOf(sight)))
        ?.readBigUInt64LE() ?? 0n
    );
  }

  close(): void {
    for (const link of this.#links) link.close();
    this.#object.close();
  }
}
