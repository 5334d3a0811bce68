// One open network namespace. The code that opens it owns the descriptor, and lends it to everything that looks into the
// namespace or changes it. So all of them meet the same one, whatever the path leads to by now.
import { constants } from 'node:os';
import { SystemCallError, systemCall } from './errors.js';
import { native, type InterfaceAddress, type NativeNetns } from './native.js';
import type { NetworkDevice } from './plumbing-native.js';
import { OwnedFd } from './seqpacket.js';

export type { InterfaceAddress, NetworkDevice };

/** A user namespace that owns a network namespace. */
export interface UserNamespace {
  /** Device and inode, `dev:inode`, as of /proc/<pid>/ns/user. */
  readonly identity: string;
  /** The same of the one above it; undefined if it is the initial one, or outside of our own. */
  readonly parent: string | undefined;
}

/** The namespace does not exist any more: its path has gone with the process, or leads to another one by now (ESTALE). */
export class NetnsGoneError extends SystemCallError {}

/** Errno of a path below /proc/<pid>: the process has ended before it was opened, or while it was. */
const GONE: ReadonlySet<string> = new Set(['ENOENT', 'ESRCH']);

export class Netns extends OwnedFd {
  /** Where it was opened; errors name it by this. The path itself may lead elsewhere by now. */
  readonly path: string;
  /** SO_NETNS_COOKIE, which BPF programs see. The kernel gives none twice until the next boot. */
  readonly cookie: bigint;
  readonly inode: bigint;
  /** Device and inode, `dev:inode`: they distinguish it from every other one for as long as something holds it. */
  readonly identity: string;

  private constructor(path: string, { owned, dev, inode, cookie }: NativeNetns) {
    super(owned);
    this.path = path;
    this.cookie = cookie;
    this.inode = inode;
    this.identity = `${dev}:${inode}`;
  }

  /**
   * Opens the namespace at a path such as /proc/<pid>/ns/net.
   * @param cookie the cookie that it must have; any if left out
   * @throws NetnsGoneError; SystemCallError EINVAL if it is not a network namespace, EPERM without CAP_SYS_ADMIN.
   */
  static open(path: string, cookie?: bigint): Netns {
    const netns = new Netns(path, opened(path));
    if (cookie === undefined || netns.cookie === cookie) return netns;
    netns.close();
    const object = `${path} (cookie ${cookie}, now ${netns.cookie})`;
    throw new NetnsGoneError({ errno: constants.errno.ESTALE, syscall: 'open', object });
  }

  /**
   * Makes a new one with its loopback up. It exists until this is closed, unless something else holds it by then.
   * @throws SystemCallError EPERM without CAP_SYS_ADMIN; ENOSPC when there are too many.
   */
  static create(): Netns {
    return new Netns(
      'a new network namespace',
      systemCall(() => native.newNetns()),
    );
  }

  /** Every IPv4 and IPv6 address in it. */
  addresses(): InterfaceAddress[] {
    return systemCall(() => native.netnsAddresses(this.fd, this.path));
  }

  /**
   * Whoever has a capability in that user namespace may change this one (namespaces(7), ioctl_ns(2)).
   * @throws SystemCallError EPERM if it is outside of our own user namespace.
   */
  owner(): UserNamespace {
    const { dev, inode, parentDev, parentInode } = systemCall(() => native.netnsOwner(this.fd, this.path));
    return {
      identity: `${dev}:${inode}`,
      parent: parentDev === undefined || parentInode === undefined ? undefined : `${parentDev}:${parentInode}`,
    };
  }

  /** Every device in it, the loopback too, whether it is up or not. */
  devices(): NetworkDevice[] {
    return systemCall(() => native.netnsDevices(this.fd, this.path));
  }
}

function opened(path: string): NativeNetns {
  try {
    return systemCall(() => native.openNetns(path));
  } catch (error) {
    throw error instanceof SystemCallError && GONE.has(error.code) ? new NetnsGoneError(error) : error;
  }
}

/** The cookie of the namespace at a path, for callers that need nothing else. Throws as {@link Netns.open} does. */
export function netnsCookie(path: string): bigint {
  using netns = Netns.open(path);
  return netns.cookie;
}
