// What /proc says of one process: enough to tell it from a later one of the same pid, and to guess how old it is.
import { readText } from './vanishing.js';

export interface ProcessFacts {
  readonly comm: string;
  /** One letter; Z and X are processes that have ended. */
  readonly state: string;
  readonly parentPid: number;
  /** Its threads; more than one in a zombie means that only its first thread has ended. */
  readonly threads: number;
  /** Clock ticks (USER_HZ, 100 per second) from boot to start: with the pid, the process's identity. */
  readonly startTime: bigint;
}

// Fields of /proc/<pid>/stat, counted from the one after the command name (proc(5): state is field 3).
const parentField = 1;
const threadsField = 17;
const startTimeField = 19;

/** Reads /proc/<pid>/stat. The command name may hold spaces and parentheses, so the last ')' ends it. Pure. */
export function parseStat(text: string): ProcessFacts | undefined {
  const open = text.indexOf('(');
  const close = text.lastIndexOf(')');
  if (open < 0 || close < open) return undefined;
  const fields = text.slice(close + 2).split(' ');
  const state = fields[0];
  const startTime = fields[startTimeField];
  if (state === undefined || startTime === undefined || !/^\d+$/.test(startTime)) return undefined;
  return {
    comm: text.slice(open + 1, close),
    state,
    parentPid: Number(fields[parentField]),
    threads: Number(fields[threadsField]),
    startTime: BigInt(startTime),
  };
}

/** Undefined when there is no such process, or it has ended and waits to be reaped. */
export function readProcess(procPath: string, pid: number): ProcessFacts | undefined {
  const text = readText(`${procPath}/${pid}/stat`);
  const facts = text === undefined ? undefined : parseStat(text);
  if (facts === undefined || facts.state === 'X') return undefined;
  return facts.state === 'Z' && facts.threads <= 1 ? undefined : facts;
}

// USER_HZ: fixed at 100 for user space on every architecture that Node runs on (linux/param.h).
const ticksPerSecond = 100;

/** Milliseconds since the process started, on the clock that start times are taken from (CLOCK_BOOTTIME). */
export function ageMs(procPath: string, process: ProcessFacts): number {
  const uptime = Number.parseFloat(readText(`${procPath}/uptime`) ?? '0');
  return uptime * 1000 - (Number(process.startTime) * 1000) / ticksPerSecond;
}
