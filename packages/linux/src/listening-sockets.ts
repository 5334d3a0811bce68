// The listening TCP sockets of another process, whichever network namespaces they are in.
import { systemCall } from './errors.js';
import { native, type NativeListeningSocket } from './native.js';
import { OwnedFd } from './seqpacket.js';

export interface ListeningSocketOptions {
  /** Only sockets with these local ports; all ports if left out. */
  readonly ports?: readonly number[];
  /** A mount of proc(5) in which `pid` means the same process as here. Default '/proc'. */
  readonly procPath?: string;
  /** A pidfd of the process, which ensures that it is this process and not a later one with the same pid. */
  readonly pidfd?: number;
}

/**
 * A duplicate of another process's listening socket. While it is open, the socket goes on listening even if that process closes
 * its own or ends: nobody would accept the connections in its queue. So pass the descriptor on, and close it.
 */
export class ListeningSocket extends OwnedFd {
  /** The local port, in host order. */
  readonly port: number;
  /** 6 also for a socket that accepts IPv4 connections as well. */
  readonly family: 4 | 6;
  /** SO_NETNS_COOKIE: the namespace that the socket is in; it may be one that none of the process's threads is in. */
  readonly netnsCookie: bigint;
  /** SO_COOKIE: no other socket has or gets this number while the machine is up. */
  readonly socketCookie: bigint;

  constructor({ owned, port, family, netnsCookie, socketCookie }: NativeListeningSocket) {
    super(owned);
    this.port = port;
    this.family = family;
    this.netnsCookie = netnsCookie;
    this.socketCookie = socketCookie;
  }
}

/**
 * Duplicates the listening TCP sockets of a process; the caller closes each. Sockets that the process opens or closes meanwhile
 * may or may not be included.
 *
 * Each socket of the process is duplicated for a moment, because nothing in /proc shows which ones listen: if the process
 * closes a connection in that moment, the connection ends a little later.
 * @throws SystemCallError ESRCH: the process has ended, and nothing is returned; EPERM or EACCES: this process may not trace it
 * (CAP_SYS_PTRACE); ENOENT: no such process below `procPath`; EMFILE; ENOSYS before Linux 5.6.
 */
export function listeningSockets(pid: number, options: ListeningSocketOptions = {}): ListeningSocket[] {
  const { ports, procPath = '/proc', pidfd = -1 } = options;
  // An empty list of ports matches nothing, but means every port to the addon.
  if (ports?.length === 0) return [];
  return systemCall(() => native.listeningSockets(pid, pidfd, procPath, ports ?? [])).map(
    (found) => new ListeningSocket(found),
  );
}

/**
 * Checks that {@link listeningSockets} can make its system calls, which an old kernel lacks and a sandbox (seccomp) may refuse.
 * @throws SystemCallError ENOSYS, EPERM
 */
export function checkPidfdGetfd(): void {
  systemCall(() => native.checkPidfdGetfd());
}
