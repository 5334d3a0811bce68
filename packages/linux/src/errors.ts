// The only error of this package: which system call failed, on what, why, and what to do about it.
import { constants } from 'node:os';

// If one number has two names (EAGAIN, EWOULDBLOCK), the first one counts; a Map keeps the last, hence the reversal.
const errnoNames = new Map(
  Object.entries(constants.errno)
    .toReversed()
    .map(([name, number]) => [number, name] as const),
);

// Advice beyond the errno, by call and code. A code alone applies to every call that has no line of its own.
const remedies: Readonly<Record<string, string>> = {
  'setns EPERM': 'entering a network namespace needs CAP_SYS_ADMIN',
  'setns EINVAL': 'the path is not a network namespace; use /proc/<pid>/ns/net or a file under /run/netns',
  'unshare EPERM': 'making a network namespace needs CAP_SYS_ADMIN',
  'unshare ENOSPC': 'there are too many network namespaces; raise user.max_net_namespaces',
  'getsockopt ENOPROTOOPT': 'this socket or this kernel does not know the option',
  'setsockopt ENOPROTOOPT': 'this socket or this kernel does not know the option',
  'recvfrom EBADMSG':
    'the kernel answered with a message that does not parse; please report it with the kernel version',
  'recvfrom EAGAIN': 'the addresses kept changing while they were read, or the kernel is short of memory; try again',
  'rtnetlink EPERM': 'changing a network namespace needs CAP_NET_ADMIN in the user namespace that owns it',
  'rtnetlink ENOENT': 'the kernel does not have it, or cannot load the module that it is in',
  'rtnetlink EEXIST': 'something else has that place, and is left alone',
  'rtnetlink EBADMSG':
    'the kernel answered with a message that does not parse; please report it with the kernel version',
  'rtnetlink EAGAIN': 'the tables kept changing while they were read, or the kernel is short of memory; try again',
  'open ESTALE': 'the path leads to another network namespace by now, and what was there is gone',
  'open EROFS': '/proc/sys is read-only, as it is in containers; give the path of a proc mount that is not',
  'if_nametoindex ENODEV': 'the namespace has no interface of that name',
  'pthread_create EAGAIN': 'no thread could be made; raise the limit on tasks (pids.max, RLIMIT_NPROC)',
  'epoll_ctl ENOSPC': 'too many files are waited for; raise fs.epoll.max_user_watches',
  'bind EADDRINUSE': 'stop the process that listens there, or choose another path; `ss -xlp` shows it',
  'flock EAGAIN': 'another process is making a socket in this directory; try again',
  'connect ECONNREFUSED': 'nobody listens on this socket',
  'connect EPROTOTYPE': 'this socket is not of type SOCK_SEQPACKET',
  'connect EAGAIN': 'the listener does not accept: its queue is full; try again',
  'pidfd_open ESRCH': 'the process has ended',
  'pidfd_open ENOSYS': 'Linux 5.3 or newer is needed',
  'pidfd_getfd EPERM':
    'taking a descriptor of another process needs CAP_SYS_PTRACE (and a kernel.yama.ptrace_scope below 3)',
  'pidfd_getfd ESRCH': 'the process has ended',
  'pidfd_getfd ENOSYS': 'Linux 5.6 or newer is needed',
  'opendir EACCES': 'listing the descriptors of another process needs root and CAP_SYS_PTRACE',
  'readlink EACCES': 'looking at the descriptors of another process needs root and CAP_SYS_PTRACE',
  'sendmsg EPIPE': 'the peer has closed the connection',
  'sendmsg EMSGSIZE': 'the packet is longer than the send buffer',
  'sendmsg ETOOMANYREFS': 'too many descriptors are under way to sockets that nobody reads; raise RLIMIT_NOFILE',
  ENAMETOOLONG: 'the name is too long; the path of a socket has at most 107 bytes',
  EACCES: 'access is refused; /proc/<pid>/ns needs root and the right to trace that process (CAP_SYS_PTRACE)',
  ENOENT: 'it does not exist (a path under /proc/<pid> goes away with its process)',
  EMFILE: 'too many open files; raise RLIMIT_NOFILE',
};

/** What the addon throws: a plain error with these fields. */
interface NativeFailure {
  readonly errno: number;
  readonly syscall: string;
  readonly object: string;
}

/** A failed system call. `errno` is positive, `code` its name ('EPERM'), `syscall` the call's ('setns'). */
export class SystemCallError extends Error {
  override readonly name = 'SystemCallError';
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;
  /** The object of the call: a path, or a socket and its option. */
  readonly object: string;

  constructor(failure: NativeFailure) {
    const code = errnoNames.get(failure.errno) ?? `errno ${failure.errno}`;
    const remedy = remedies[`${failure.syscall} ${code}`] ?? remedies[code];
    super(`${failure.syscall} ${failure.object}: ${code}${remedy === undefined ? '' : `; ${remedy}`}`);
    this.code = code;
    this.errno = failure.errno;
    this.syscall = failure.syscall;
    this.object = failure.object;
  }
}

/** The code of a failed call, Node's or ours: 'ENOENT'. Undefined for other errors. */
export function errorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

function isNativeFailure(error: unknown): error is NativeFailure {
  return error instanceof Error && 'errno' in error && 'syscall' in error && 'object' in error;
}

/** Runs a call into the addon and turns its failure into the error above. */
export function systemCall<Result>(body: () => Result): Result {
  try {
    return body();
  } catch (error) {
    if (isNativeFailure(error)) throw new SystemCallError(error);
    throw error;
  }
}

/** Runs a call. If it fails, returns what `expected` makes of the failure's code; if that is undefined, throws the failure. */
export function unless<Result>(body: () => Result, expected: (code: string) => Result | undefined): Result {
  try {
    return systemCall(body);
  } catch (error) {
    const result = error instanceof SystemCallError ? expected(error.code) : undefined;
    if (result === undefined) throw error;
    return result;
  }
}
