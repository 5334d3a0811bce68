// Finds a process's network namespace: identity, cookie, addresses. It remembers a namespace only while the process through
// which it was read is alive and still in it: an inode may be given to another namespace as soon as nobody holds it.
import { Netns, NetnsGoneError, SystemCallError } from '@sluice/linux';
import ipaddr from 'ipaddr.js';
import { CgroupError } from './errors.js';
import { readProcess } from './process.js';
import { identity } from './vanishing.js';

export interface NetnsRef {
  inode: bigint;
  /** SO_NETNS_COOKIE: what BPF programs see. The kernel gives none twice until the next boot. */
  cookie: bigint;
  /** The process through which it was read, and that process's namespace file. */
  pid: number;
  path: string;
  /** Addresses of global scope in canonical text (RFC 5952; IPv4-mapped as IPv4). */
  addresses: string[];
  /**
   * Who may change it: the host's user namespace, as for an ordinary pod; one right below that, as for a pod with `hostUsers: false`; or
   * another one, which somebody inside a pod has made.
   */
  owner: 'host' | 'below-host' | 'other';
}

/**
 * Lends an open namespace for one look into it: the one that is already open if it has that identity (`dev:inode`), and
 * otherwise the one at the path.
 */
export type LendNetns = <Result>(path: string, identity: string, look: (netns: Netns) => Result) => Result;

const openForOneLook: LendNetns = (path, _identity, look) => {
  using netns = Netns.open(path);
  return look(netns);
};

/** The canonical text of an address, or undefined for something else. */
export function canonicalAddress(text: string): string | undefined {
  return ipaddr.isValid(text) ? ipaddr.process(text).toString() : undefined;
}

interface Remembered {
  readonly key: string;
  readonly startTime: bigint;
  readonly ref: NetnsRef;
}

const firstSweep = 64;

export class NetnsReader {
  readonly #procPath: string;
  readonly #hostNetns: string;
  /** The identity of the user namespace that owns the host's network namespace, once it has been asked for. */
  #hostUsers: string | undefined;
  readonly #known = new Map<string, Remembered>();
  #sweepAt = firstSweep;

  constructor(procPath: string, hostNetns: string) {
    this.#procPath = procPath;
    this.#hostNetns = hostNetns;
  }

  /** The file of a process's network namespace. */
  path(pid: number): string {
    return `${this.#procPath}/${pid}/ns/net`;
  }

  /** Identifies the namespace that a process is in, for as long as it stays there. Undefined when the process is gone. */
  key(pid: number): string | undefined {
    return this.keyOf(this.path(pid));
  }

  keyOf(path: string): string | undefined {
    const found = identity(path);
    return found === undefined ? undefined : `${found.dev}:${found.inode}`;
  }

  /** What is remembered about a namespace, if its holder still holds it. */
  recall(key: string): NetnsRef | undefined {
    const known = this.#known.get(key);
    if (known === undefined) return undefined;
    if (this.#isHeld(known)) return known.ref;
    this.#known.delete(key);
    return undefined;
  }

  /**
   * Reads a process's namespace again.
   * @param key the namespace that the process was seen in
   * @returns undefined when the process is not in it any more: it is gone, another has its pid, or it moved
   */
  read(pid: number, key: string, lend: LendNetns = openForOneLook): NetnsRef | undefined {
    const path = this.path(pid);
    const startTime = readProcess(this.#procPath, pid)?.startTime;
    if (startTime === undefined) return undefined;
    try {
      return lend(path, key, (netns) => {
        if (netns.identity !== key) return undefined;
        const { inode, cookie } = netns;
        const ref = { inode, cookie, pid, path, addresses: globalAddresses(netns), owner: this.#ownerOf(netns) };
        const known = { key, startTime, ref };
        if (!this.#isHeld(known)) return undefined;
        this.#remember(known);
        return known.ref;
      });
    } catch (error) {
      if (error instanceof NetnsGoneError) return undefined;
      if (error instanceof SystemCallError && (error.code === 'EACCES' || error.code === 'EPERM')) {
        throw new CgroupError('permission-denied', path, error.message, error);
      }
      throw error;
    }
  }

  #ownerOf(netns: Netns): NetnsRef['owner'] {
    const { identity, parent } = netns.owner();
    const host = (this.#hostUsers ??= this.#readHostUsers());
    if (identity === host) return 'host';
    return parent === host ? 'below-host' : 'other';
  }

  #readHostUsers(): string {
    using host = Netns.open(this.#hostNetns);
    return host.owner().identity;
  }

  #isHeld(known: Remembered): boolean {
    return (
      readProcess(this.#procPath, known.ref.pid)?.startTime === known.startTime && this.key(known.ref.pid) === known.key
    );
  }

  #remember(known: Remembered): void {
    this.#known.set(known.key, known);
    if (this.#known.size < this.#sweepAt) return;
    for (const [key, other] of this.#known) if (!this.#isHeld(other)) this.#known.delete(key);
    this.#sweepAt = Math.max(firstSweep, this.#known.size * 2);
  }
}

function globalAddresses(netns: Netns): string[] {
  const addresses = netns
    .addresses()
    .filter(({ scope }) => scope === 'global')
    .map(({ address }) => canonicalAddress(address))
    .filter((address) => address !== undefined);
  return [...new Set(addresses)];
}
