// What processEvents() emits.

/** CLOCK_MONOTONIC nanoseconds at which the kernel made the event. */
interface Stamped {
  timestampNs: bigint;
}

/** A place where events are missing. After it, only /proc knows what lives. */
export interface Overrun extends Stamped {
  kind: 'overrun';
  /** How many messages of the kernel are missing, if that is known. */
  lost: number | undefined;
  /** `socket`: the kernel's buffer was full. `ring`: JavaScript was blocked. */
  cause: 'socket' | 'ring';
}

/** pid is the new process. */
export interface ProcessForkEvent extends Stamped {
  kind: 'fork';
  pid: number;
  parentPid: number;
}

export interface ProcessExecEvent extends Stamped {
  kind: 'exec';
  pid: number;
}

/** The last thread of the process has ended. exitCode is a wait status (wait(2)), of that thread. */
export interface ProcessExitEvent extends Stamped {
  kind: 'exit';
  pid: number;
  exitCode: number;
}

/** An event of a whole process; events of its threads do not appear. */
export type ProcessEvent = ProcessForkEvent | ProcessExecEvent | ProcessExitEvent | Overrun;
