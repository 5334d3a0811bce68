// The inbound program in the pods' network namespaces: a pinned link for each, by the namespace's cookie.
import { existsSync, readdirSync } from 'node:fs';
import { BpfError, BpfLink } from '@sluice/libbpf';
import type { Netns } from '@sluice/linux';
import { DatapathError } from './errors.js';
import { isAttached, type HeldLinks } from './held-links.js';
import type { InboundPrograms } from './inbound-programs.js';
import { linksDirectory, netnsCookieOf, netnsLinkName, netnsLinkPin } from './layout.js';
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
  readonly #held: HeldLinks;

  /** @param held holds what is attached from now on */
  constructor(pinDirectory: string, programs: InboundPrograms, held: HeldLinks) {
    this.#pinDirectory = pinDirectory;
    this.#programs = programs;
    this.#held = held;
  }

  /** Those that are held without a pin are among them. */
  attached(): ReadonlySet<bigint> {
    const held = this.#held.seen().flatMap(({ name, info }) => (isAttached(info) ? (netnsCookieOf(name) ?? []) : []));
    return new Set([...pinnedNetns(this.#pinDirectory), ...held]);
  }

  attach(netns: Netns): NetnsAttached {
    const { cookie, inode, path } = netns;
    const pin = netnsLinkPin(this.#pinDirectory, cookie);
    const name = netnsLinkName(cookie);
    const held = this.#held.get(name);
    if (held !== undefined && isAttached(held.link.info())) {
      if (!this.#held.isPinned(name)) this.#held.pinAgain();
      return this.#renew(cookie, held.link) ? 'updated' : 'present';
    }
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
    this.#create(netns);
    return 'attached';
  }

  detach(cookie: bigint): boolean {
    const held = this.#held.get(netnsLinkName(cookie));
    held?.link.detach();
    this.#held.drop(netnsLinkName(cookie));
    return detachPinnedNetns(this.#pinDirectory, cookie) || held !== undefined;
  }

  /** Puts this version's programs into the links that an earlier agent pinned, and unpins those whose namespace is gone. */
  adopt(): void {
    for (const cookie of pinnedNetns(this.#pinDirectory)) {
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
    const isCurrent = this.#programs.isCurrent(link.info().programId);
    if (!isCurrent) this.#programs.with(cookie, (program) => link.update(program));
    const { id, programId } = link.info();
    const pin = netnsLinkPin(this.#pinDirectory, cookie);
    this.#held.keep(netnsLinkName(cookie), id, programId, () => BpfLink.openPinned(pin));
    return !isCurrent;
  }

  #create(netns: Netns): void {
    this.#programs.with(netns.cookie, (program) => {
      try {
        this.#held.add(netnsLinkName(netns.cookie), program.attachNetns(netns), program.id);
      } catch (error) {
        const sentence = `${program.name} could not be attached to the network namespace ${netns.path}`;
        throw DatapathError.because('attach', sentence, error);
      }
    });
  }
}
