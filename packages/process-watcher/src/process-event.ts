// What the two observables emit.

/** A place where events are missing. After it, only /proc knows what lives. */
export interface Overrun {
  kind: 'overrun';
  /** How many messages of the kernel are missing, if that is known. */
  lost: number | undefined;
  /** `socket`: the kernel's buffer was full. `ring`: JavaScript was blocked. */
  cause: 'socket' | 'ring';
}

/** CLOCK_MONOTONIC nanoseconds at which the kernel made the event. */
interface Stamped {
  timestampNs: bigint;
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
export type ProcessEvent = ProcessForkEvent | ProcessExecEvent | ProcessExitEvent | (Overrun & Stamped);

/** A process for as long as it lives: the same object in `started`, `exec` and `exited`. */
export interface Process {
  readonly pid: number;
  /**
   * Field 22 of /proc/<pid>/stat: clock ticks (1/100 s) since boot. With the pid it identifies a process for ever. A process
   * that was gone before it could be looked up has the tick of its fork event here, which may be one too many.
   */
  readonly startTime: bigint;
  readonly parentPid: number;
}

/** `synthetic`: it was found in /proc and not reported by the kernel. */
export type ProcessChange =
  | { kind: 'started' | 'exec' | 'exited'; process: Process; synthetic: boolean }
  /** From here on the changes so far add up to the processes that live. */
  | { kind: 'synced' }
  /** Until the next `synced` the changes may not add up. */
  | Overrun;
