// The events of the proc connector as JavaScript sees them, and their kernel numbers (linux/cn_proc.h).

/** What every event carries. */
interface Common {
  /** Nanoseconds of CLOCK_MONOTONIC at which the kernel made the event. */
  timestampNs: bigint;
  /** The CPU that made the event; -1 for an overrun that belongs to no single CPU. */
  cpu: number;
}

/** `pid` is the thread's id and `tgid` the process's, as in the kernel: they are equal for a process's first thread. */
interface Task extends Common {
  pid: number;
  tgid: number;
}

/**
 * pid and tgid are the child's; they differ for a new thread, whose "parent" is then its process's parent, not the thread
 * that made it.
 */
export interface ForkEvent extends Task {
  kind: 'fork';
  parentPid: number;
  parentTgid: number;
}

export interface ExecEvent extends Task {
  kind: 'exec';
}

/** One thread ended; the process may live on. `exitCode` is a wait status (wait(2)), `exitSignal` what the parent gets. */
export interface ExitEvent extends Task {
  kind: 'exit';
  exitCode: number;
  exitSignal: number;
  parentPid: number;
  parentTgid: number;
}

export interface CommEvent extends Task {
  kind: 'comm';
  /** At most 15 bytes, decoded as UTF-8. */
  comm: string;
}

export interface IdEvent extends Task {
  kind: 'uid' | 'gid';
  realId: number;
  effectiveId: number;
}

export interface SidEvent extends Task {
  kind: 'sid';
}

/** tracerPid is 0 when the tracer let go. */
export interface PtraceEvent extends Task {
  kind: 'ptrace';
  tracerPid: number;
  tracerTgid: number;
}

export interface CoredumpEvent extends Task {
  kind: 'coredump';
  parentPid: number;
  parentTgid: number;
}

/** Something was lost at this place of the stream. It is not known which processes it concerned: scan /proc again. */
export interface OverrunEvent extends Common {
  kind: 'overrun';
  /** How many kernel messages, if that is known; saturates at 2^32 - 1. */
  lost: number | undefined;
  /** `socket`: the receive buffer was full, or a message was damaged. `ring`: JavaScript was too slow. */
  cause: 'socket' | 'ring';
}

export type ProcEvent =
  ForkEvent | ExecEvent | ExitEvent | CommEvent | IdEvent | SidEvent | PtraceEvent | CoredumpEvent | OverrunEvent;

/** The kinds that can be requested; overruns always come. */
export type ProcEventKind = Exclude<ProcEvent['kind'], 'overrun'>;

/** PROC_EVENT_* of linux/cn_proc.h. */
export const KIND_BITS: Readonly<Record<ProcEventKind, number>> = {
  fork: 0x0000_0001,
  exec: 0x0000_0002,
  uid: 0x0000_0004,
  gid: 0x0000_0040,
  sid: 0x0000_0080,
  ptrace: 0x0000_0100,
  comm: 0x0000_0200,
  coredump: 0x4000_0000,
  exit: 0x8000_0000,
};

/** Our own number for an overrun (native/record.h). */
export const OVERRUN_BIT = 0x2000_0000;

export const ALL_KINDS: readonly ProcEventKind[] = Object.keys(KIND_BITS).filter(
  (name): name is ProcEventKind => name in KIND_BITS,
);
