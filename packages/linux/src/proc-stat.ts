// Reads /proc/<pid>/stat (proc_pid_stat(5)).
import { readFileSync } from 'node:fs';

/** A process as /proc shows it at one moment. */
export interface SeenProcess {
  readonly pid: number;
  readonly comm: string;
  /** Clock ticks (USER_HZ, 100 per second) from boot to start: with the pid, the process's identity. */
  readonly startTime: bigint;
  readonly parentPid: number;
  /** The number of its threads, including a dead leader that still waits for the others. */
  readonly threads: number;
  /** The first thread has ended (state Z or X); if it is the only one, so has the process. */
  readonly leaderEnded: boolean;
}

// Fields of stat, counted from 0 after the comm's closing parenthesis; the manual page's numbers are 3 greater.
const STATE = 0;
const PARENT = 1;
const THREADS = 17;
const START_TIME = 19;

/** Pure. Undefined for text that is not a whole stat line. */
export function parseStat(text: string): SeenProcess | undefined {
  const open = text.indexOf('(');
  // The comm itself may contain spaces and parentheses: it ends at the last one.
  const close = text.lastIndexOf(') ');
  const pid = Number.parseInt(text, 10);
  if (open < 0 || close < open || Number.isNaN(pid)) return undefined;
  const fields = text.slice(close + 2).split(' ');
  const [state, startTime] = [fields[STATE], fields[START_TIME]];
  if (state === undefined || startTime === undefined || !/^\d+$/.test(startTime)) return undefined;
  return {
    pid,
    comm: text.slice(open + 1, close),
    startTime: BigInt(startTime),
    parentPid: Number(fields[PARENT]),
    threads: Number(fields[THREADS]),
    leaderEnded: state === 'Z' || state === 'X',
  };
}

/** Undefined when there is no such process (any more), or when we may not look at it. */
export function readProcess(procPath: string, pid: number): SeenProcess | undefined {
  try {
    return parseStat(readFileSync(`${procPath}/${pid}/stat`, 'utf8'));
  } catch {
    return undefined;
  }
}
