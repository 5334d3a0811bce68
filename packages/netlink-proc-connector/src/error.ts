// The messages for a proc connector that cannot be opened: each failing system call with its cause and its remedy.
import { readlinkSync } from 'node:fs';

/** What the native side reports about a failure. */
export interface SystemFailure {
  code: string;
  errno: number;
  syscall: string;
}

export function isSystemFailure(error: unknown): error is Error & SystemFailure {
  return error instanceof Error && 'syscall' in error && 'errno' in error && 'code' in error;
}

/** Whether this process is in the initial namespaces; undefined if that cannot be seen. */
export interface NamespaceFacts {
  initialPid: boolean | undefined;
  initialUser: boolean | undefined;
}

/** `code` and `errno` name the errno (`ETIMEDOUT` when the kernel never answered), `syscall` the step that failed. */
export class ProcConnectorError extends Error {
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;

  constructor(message: string, failure: SystemFailure, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ProcConnectorError';
    this.code = failure.code;
    this.errno = failure.errno;
    this.syscall = failure.syscall;
  }
}

// PROC_PID_INIT_INO and PROC_USER_INIT_INO of include/linux/proc_ns.h: the initial namespaces have fixed inodes.
const INITIAL_PID_NAMESPACE = 'pid:[4026531836]';
const INITIAL_USER_NAMESPACE = 'user:[4026531837]';

/** Reads /proc/self/ns. */
export function namespaceFacts(procPath = '/proc'): NamespaceFacts {
  const isInitial = (name: string, initial: string): boolean | undefined => {
    try {
      return readlinkSync(`${procPath}/self/ns/${name}`) === initial;
    } catch {
      return undefined;
    }
  };
  return {
    initialPid: isInitial('pid', INITIAL_PID_NAMESPACE),
    initialUser: isInitial('user', INITIAL_USER_NAMESPACE),
  };
}

/** The message for a failed open. It is pure, so that causes that cannot be provoked are tested, too. */
export function explainOpenFailure(failure: SystemFailure, namespaces: NamespaceFacts): string {
  const what = `cannot open the proc connector: ${failure.syscall} failed with ${failure.code}`;
  return `${what}: ${causeAndRemedy(failure, namespaces)}`;
}

function causeAndRemedy({ code, syscall }: SystemFailure, namespaces: NamespaceFacts): string {
  if (syscall === 'pthread_create') return 'no thread could be made; raise the limit on tasks (pids.max, RLIMIT_NPROC)';
  switch (code) {
    case 'EPERM':
    case 'EACCES':
      return syscall === 'setsockopt'
        ? 'a large receive buffer (SO_RCVBUFFORCE) needs CAP_NET_ADMIN in the initial user namespace; run as root, or give the container the capability NET_ADMIN'
        : 'the kernel refuses the subscription without CAP_NET_ADMIN in the initial user namespace; run as root, or give the container the capability NET_ADMIN and no user namespace of its own';
    case 'ECONNREFUSED':
      return 'the proc connector exists only in the initial network namespace; run with the network namespace of the host (hostNetwork: true in Kubernetes)';
    case 'EPROTONOSUPPORT':
    case 'EAFNOSUPPORT':
      return 'this kernel has no netlink connector; it needs CONFIG_CONNECTOR=y and CONFIG_PROC_EVENTS=y';
    case 'ETIMEDOUT':
      return noAnswer(namespaces);
    default:
      return 'no cause is known for this errno; the manual page of the call may name it';
  }
}

function noAnswer({ initialPid, initialUser }: NamespaceFacts): string {
  const foreign = [...(initialPid === false ? ['pid'] : []), ...(initialUser === false ? ['user'] : [])];
  if (foreign.length > 0) {
    const remedy = [
      ...(initialPid === false ? ['the pid namespace of the host (hostPID: true in Kubernetes)'] : []),
      ...(initialUser === false ? ['no user namespace of its own (hostUsers: true in Kubernetes)'] : []),
    ];
    return `the kernel did not answer, because it serves only the initial pid and user namespaces and this process is in another ${foreign.join(' and ')} namespace; run with ${remedy.join(' and ')}`;
  }
  return 'the kernel did not answer; either it was built without CONFIG_PROC_EVENTS=y (use a kernel that has it), or this process is not in the initial pid and user namespaces (in Kubernetes set hostPID: true and hostUsers: true)';
}
