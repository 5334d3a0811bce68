// Facts about a network namespace that only a thread inside it can ask for.
import { systemCall } from './errors.js';
import { native, type InterfaceAddress } from './native.js';
import { OwnedFd } from './seqpacket.js';

export type { InterfaceAddress };

/** One network namespace at one moment. All of it is read through one open file, so it is of one namespace. */
export interface NetnsFacts {
  /** Device and inode of the namespace file: its identity, for as long as something holds the namespace. */
  dev: bigint;
  inode: bigint;
  /** SO_NETNS_COOKIE: never used twice until the next boot, and what BPF programs see. */
  cookie: bigint;
  addresses: InterfaceAddress[];
}

/**
 * Identity, cookie and addresses of the network namespace at a path such as /proc/<pid>/ns/net.
 * Blocks for the life of one short thread, which enters the namespace and ends there (setns(2)).
 * @throws SystemCallError ENOENT when the path is gone, EINVAL when it is no network namespace, EPERM without
 * CAP_SYS_ADMIN.
 */
export function readNetns(netnsPath: string): NetnsFacts {
  return systemCall(() => native.readNetns(netnsPath, true));
}

/** The SO_NETNS_COOKIE (Linux 5.14) of the network namespace at a path. Throws as `readNetns` does. */
export function netnsCookie(netnsPath: string): bigint {
  return systemCall(() => native.readNetns(netnsPath, false).cookie);
}

/** Every IPv4 and IPv6 address in the network namespace at a path. Throws as `readNetns` does. */
export function netnsAddresses(netnsPath: string): InterfaceAddress[] {
  return systemCall(() => native.readNetns(netnsPath, true).addresses);
}

/**
 * A new network namespace with its loopback up. It is there until the descriptor is closed, unless something else holds
 * it by then; `/proc/self/fd/<fd>` is a path to it.
 * @throws SystemCallError EPERM without CAP_SYS_ADMIN; ENOSPC when there are too many.
 */
export function newNetns(): OwnedFd {
  return systemCall(() => new OwnedFd(native.newNetns()));
}
