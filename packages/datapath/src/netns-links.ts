// The inbound program in the pods' network namespaces: a pinned link for each, by the namespace's cookie.
import { existsSync, readdirSync } from 'node:fs';
import { BpfError, BpfLink } from '@sluice/libbpf';
import type { Netns } from '@sluice/linux';
import { DatapathError } from './errors.js';
import type { InboundPrograms } from './inbound-programs.js';
import { linksDirectory, netnsCookieOf, netnsLinkPin } from './layout.js';
import { clearPin, openIfPinned } from './pins.js';

/** What attaching did: made a new link, put a new program into the old one, or nothing because all was as it should be. */
export type NetnsAttached = 'attached' | 'updated' | 'present';

/** The cookies of the namespaces that have a pinned link. The kernel gives no cookie twice until the machine restarts. */
export function pinnedNetns(pinDirectory: string): Set<bigint> {
  const directory = linksDirectory(pinDirectory);
  if (!existsSync(directory)) return new Set();
  return new Set(readdirSync(directory).flatMap((name) => netnsCookieOf(name) ?? []));
}

/** Ends a pinned attachment at once, wherever it was; false if there is none. */
export function detachPinnedNetns(pinDirectory: string, cookie: bigint): boolean {
  const pin = netnsLinkPin(pinDirectory, cookie);
  using link = openIfPinned(pin, (path) => BpfLink.openPinned(path));
  // Unpinning alone would not do: the kernel would detach the link some time later.
  link?.detach();
  clearPin(pin);
  return link !== undefined;
}

export class NetnsLinks {
  readonly #pinDirectory: string;
  readonly #programs: InboundPrograms;

  constructor(pinDirectory: string, programs: InboundPrograms) {
    this.#pinDirectory = pinDirectory;
    this.#programs = programs;
  }

  attached(): ReadonlySet<bigint> {
    return pinnedNetns(this.#pinDirectory);
  }

  attach(netns: Netns): NetnsAttached {
    const { cookie, inode, path } = netns;
    const pin = netnsLinkPin(this.#pinDirectory, cookie);
    using pinned = openIfPinned(pin, (file) => BpfLink.openPinned(file));
    const where = pinned?.info().netnsInode;
    if (pinned !== undefined && where === Number(inode)) return this.#renew(cookie, pinned) ? 'updated' : 'present';
    if (where !== undefined && where !== 0) {
      throw new DatapathError(
        'attach',
        `what is pinned at ${pin} is a link to another network namespace than ${path}: that one has the inode ${where}, this one ${inode}`,
      );
    }
    clearPin(pin);
    this.#create(netns, pin);
    return 'attached';
  }

  detach(cookie: bigint): boolean {
    return detachPinnedNetns(this.#pinDirectory, cookie);
  }

  /** Puts this version's programs into the links that an earlier agent pinned, and unpins those whose namespace is gone. */
  adopt(): void {
    for (const cookie of this.attached()) {
      const pin = netnsLinkPin(this.#pinDirectory, cookie);
      using link = openIfPinned(pin, (path) => BpfLink.openPinned(path));
      if (link === undefined || !this.#renewLiving(cookie, link)) clearPin(pin);
    }
  }

  /** False if the namespace is gone. */
  #renewLiving(cookie: bigint, link: BpfLink): boolean {
    const { netnsInode = 0 } = link.info();
    if (netnsInode === 0) return false;
    try {
      this.#renew(cookie, link);
      return true;
    } catch (error) {
      // The namespace went meanwhile.
      if (error instanceof BpfError && error.code === 'ENOLINK') return false;
      throw error;
    }
  }

  /** Makes one atomic update, if one is needed at all. */
  #renew(cookie: bigint, link: BpfLink): boolean {
    if (this.#programs.isCurrent(link.info().programId)) return false;
    this.#programs.with(cookie, (program) => link.update(program));
    return true;
  }

  #create(netns: Netns, pin: string): void {
    this.#programs.with(netns.cookie, (program) => {
      try {
        using link = program.attachNetns(netns);
        link.pin(pin);
      } catch (error) {
        const sentence = `${program.name} could not be attached to the network namespace ${netns.path}`;
        throw DatapathError.because('attach', sentence, error);
      }
    });
  }
}
