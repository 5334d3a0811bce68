// The listening TCP sockets of another process, in whichever network namespaces they are.
import { systemCall } from './errors.js';
import { native, type NativeListeningSocket } from './native.js';
import { OwnedFd } from './seqpacket.js';

export interface ListeningSocketOptions {
  /** Only sockets of these local ports; left out: of every port. */
  readonly ports?: readonly number[];
  /** A mount of proc(5) in which `pid` is what it is here. Default '/proc'. */
  readonly procPath?: string;
  /** A pidfd of the process, which makes sure that it is this process and no later one of the same number. */
  readonly pidfd?: number;
}

/**
 * A duplicate of another process's listening socket. While it is open, the socket goes on listening even if that
 * process closes its own or ends: connections would queue up for nobody. So hand the descriptor on, and close it.
 */
export class ListeningSocket extends OwnedFd {
  /** The local port, in host order. */
  readonly port: number;
  /** 6 also for a socket that takes IPv4 connections as well. */
  readonly family: 4 | 6;
  /** SO_NETNS_COOKIE: the namespace that the socket is in, which need not be one of the process's threads'. */
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
 * Duplicates the listening TCP sockets of a process; the caller closes each. What the process opens or closes meanwhile
 * may be in the list or not.
 *
 * Each socket of the process is duplicated for a moment, because nothing in /proc tells the listening ones: an end of
 * connection that the process closes in that very moment is closed so much later.
 * @throws SystemCallError ESRCH: the process has ended, and nothing is returned of it; EPERM or EACCES: this process
 * may not trace it (CAP_SYS_PTRACE); ENOENT: no such process below `procPath`; EMFILE; ENOSYS before Linux 5.6.
 */
export function listeningSockets(pid: number, options: ListeningSocketOptions = {}): ListeningSocket[] {
  const { ports, procPath = '/proc', pidfd = -1 } = options;
  // An empty list of ports asks for nothing, where the addon takes it for no condition.
  if (ports?.length === 0) return [];
  return systemCall(() => native.listeningSockets(pid, pidfd, procPath, ports ?? [])).map(
    (found) => new ListeningSocket(found),
  );
}

/**
 * Whether {@link listeningSockets} has its system calls: a sandbox (seccomp) may refuse them as well as an old kernel.
 * @throws SystemCallError ENOSYS, EPERM
 */
export function checkPidfdGetfd(): void {
  systemCall(() => native.checkPidfdGetfd());
}
