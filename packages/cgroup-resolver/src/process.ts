// What /proc says about one process: enough to tell it from a later one with the same pid, and to estimate its age.
import { parseStat, type SeenProcess } from '@sluice/linux';
import { readText } from './vanishing.js';

/** Undefined when there is no such process, or when it has ended and waits to be reaped. */
export function readProcess(procPath: string, pid: number): SeenProcess | undefined {
  const text = readText(`${procPath}/${pid}/stat`);
  const seen = text === undefined ? undefined : parseStat(text);
  // A first thread that has ended waits for the others to end.
  return seen?.leaderEnded === true && seen.threads <= 1 ? undefined : seen;
}

// USER_HZ: fixed at 100 for user space on every architecture that Node runs on (linux/param.h).
const ticksPerSecond = 100;

/** Milliseconds since the process started, on the clock that start times are taken from (CLOCK_BOOTTIME). */
export function ageMs(procPath: string, process: SeenProcess): number {
  const uptime = Number.parseFloat(readText(`${procPath}/uptime`) ?? '0');
  return uptime * 1000 - (Number(process.startTime) * 1000) / ticksPerSecond;
}
