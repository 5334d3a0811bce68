// BpfError: the only error of this package. It wraps what the addon throws.
import { missingCapabilities } from './capabilities.js';

/** What is known about a failure. `errno` is 0 if this package itself refused. */
export interface BpfErrorDetails {
  code: string;
  errno: number;
  syscall: string;
  /** The verifier's log as the kernel gave it, when a program was refused. */
  verifierLog?: string;
  /** What libbpf printed during the call. */
  libbpfLog?: string;
  /** For batches: how many elements were done before the refusal. */
  completed?: number;
  cause?: unknown;
}

/**
 * A call of libbpf or of bpf(2) failed. The message names the object, the cause and, where there is one, the remedy.
 * `code` is the errno's name ('EPERM'), or 'LIBBPF_...' for libbpf's own codes (4000 and above).
 */
export class BpfError extends Error {
  override readonly name = 'BpfError';
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;
  readonly verifierLog?: string;
  readonly libbpfLog?: string;
  readonly completed?: number;

  constructor(message: string, details: BpfErrorDetails) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = details.code;
    this.errno = details.errno;
    this.syscall = details.syscall;
    if (details.verifierLog !== undefined) this.verifierLog = details.verifierLog;
    if (details.libbpfLog !== undefined) this.libbpfLog = details.libbpfLog;
    if (details.completed !== undefined) this.completed = details.completed;
  }
}

/** What the addon's errors carry (native/javascript_error.h; native/error.cc of this package adds the log). */
export interface CallFailure extends Error {
  code: string;
  errno: number;
  syscall: string;
  /** strerror's sentence. */
  text: string;
  libbpfLog?: string;
  verifierLog?: string;
}

export function isCallFailure(error: unknown): error is CallFailure {
  return error instanceof Error && 'syscall' in error && 'errno' in error && 'text' in error;
}

/**
 * Runs a native call. Its failure becomes a BpfError "cannot <what>: <cause>. <remedy>"; `explain` may replace the cause and
 * remedy with better words. Wrong arguments (TypeError, RangeError) pass through.
 */
export function attempt<T>(what: string, run: () => T, explain?: (failure: CallFailure) => string | undefined): T {
  try {
    return run();
  } catch (error) {
    if (!isCallFailure(error)) throw error;
    throw toBpfError(what, error, explain?.(error));
  }
}

/** The BpfError of a failed native call. */
export function toBpfError(what: string, failure: CallFailure, explanation?: string): BpfError {
  const cause = explanation ?? missingPrivilege(failure) ?? `${failure.text} (${failure.code})`;
  return new BpfError(`cannot ${what}: ${cause}`, {
    code: failure.code,
    errno: failure.errno,
    syscall: failure.syscall,
    ...(failure.verifierLog === undefined ? {} : { verifierLog: failure.verifierLog }),
    ...(failure.libbpfLog === undefined ? {} : { libbpfLog: failure.libbpfLog }),
  });
}

/** A refusal by this package, before any system call. */
export function refuse(code: string, message: string): BpfError {
  return new BpfError(message, { code, errno: 0, syscall: '' });
}

function missingPrivilege(failure: CallFailure): string | undefined {
  if (failure.code !== 'EPERM' && failure.code !== 'EACCES') return undefined;
  const missing = missingCapabilities();
  if (missing.length === 0) return undefined;
  return `${failure.text} (${failure.code}): this process lacks ${missing.join(' and ')}. Run it as root, or give it these capabilities`;
}
