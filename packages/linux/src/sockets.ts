// Socket options by number, for those that Node does not know.
import { systemCall } from './errors.js';
import { native } from './native.js';

/**
 * getsockopt(2). The result is as long as the kernel made it, at most `length` bytes; its layout and byte order are the
 * option's own (SO_ORIGINAL_DST: a sockaddr, port and address in network order).
 * @throws SystemCallError ENOPROTOOPT for an unknown option, ENOENT for SO_ORIGINAL_DST if the connection has none.
 */
export function getSockOpt(fd: number, level: number, name: number, length: number): Buffer {
  return systemCall(() => native.getSockOpt(fd, level, name, length));
}

/** setsockopt(2) of a C int in host order. */
export function setSockOptInt(fd: number, level: number, name: number, value: number): void {
  systemCall(() => native.setSockOptInt(fd, level, name, value));
}

/** How long a jiffy of this kernel is, in microseconds: 4000 if it was built with CONFIG_HZ=250. Some times are set in jiffies. */
export function jiffyMicroseconds(): number {
  return systemCall(() => native.jiffyMicroseconds());
}
