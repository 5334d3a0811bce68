// Asks /proc whether a process lives: its first thread may have ended long before its last.
import { readdirSync, readFileSync } from 'node:fs';
import { parseStat, type SeenProcess } from '@sluice/linux';

/** `leaderless`: the first thread has ended, others run. */
export type ThreadGroupState = 'running' | 'leaderless' | 'gone';

/** The present state of a process that was seen in /proc. */
export function threadGroupState(procPath: string, seen: SeenProcess): ThreadGroupState {
  if (!seen.leaderEnded) return 'running';
  if (seen.threads <= 1) return 'gone';
  // More than one thread is listed, but a traced thread is listed after its end until its tracer has waited for it.
  return anyThreadRuns(`${procPath}/${seen.pid}/task`) ? 'leaderless' : 'gone';
}

function anyThreadRuns(taskPath: string): boolean {
  let threads: string[];
  try {
    threads = readdirSync(taskPath);
  } catch {
    return false;
  }
  return threads.some((thread) => {
    try {
      return parseStat(readFileSync(`${taskPath}/${thread}/stat`, 'utf8'))?.leaderEnded === false;
    } catch {
      return false;
    }
  });
}
