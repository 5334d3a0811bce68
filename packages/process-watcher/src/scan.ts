// Walks over /proc once, in slices, so that the event loop goes on.
import { readdirSync } from 'node:fs';
import { Observable } from 'rxjs';
import { ProcessWatcherError } from './error.js';
import { errorCode, readProcess, type SeenProcess } from '@sluice/linux';
import { threadGroupState } from './thread-group-state.js';

/** About 2 ms of work. */
const PROCESSES_PER_SLICE = 128;

/** Emits once, with every process that lives, and completes. Unsubscribing stops the walk. */
export function scanProcesses(procPath: string): Observable<SeenProcess[]> {
  return new Observable((subscriber) => {
    let pids: number[];
    try {
      pids = listProcesses(procPath);
    } catch (error) {
      subscriber.error(error);
      return undefined;
    }
    const seen: SeenProcess[] = [];
    let next = 0;
    const slice = (): void => {
      const end = next + PROCESSES_PER_SLICE;
      for (const pid of pids.slice(next, end)) {
        const process = lookAt(procPath, pid);
        if (process !== undefined) seen.push(process);
      }
      next = end;
      if (next < pids.length) {
        immediate = setImmediate(slice);
      } else {
        subscriber.next(seen);
        subscriber.complete();
      }
    };
    let immediate = setImmediate(slice);
    return () => clearImmediate(immediate);
  });
}

/** One process, if it lives: a zombie whose threads have all ended does not. */
export function lookAt(procPath: string, pid: number): SeenProcess | undefined {
  const seen = readProcess(procPath, pid);
  return seen === undefined || threadGroupState(procPath, seen) === 'gone' ? undefined : seen;
}

function listProcesses(procPath: string): number[] {
  let names: string[];
  try {
    names = readdirSync(procPath);
  } catch (cause) {
    const code = errorCode(cause) ?? 'EIO';
    throw new ProcessWatcherError(
      `cannot list the processes in ${procPath}: ${code}; mount the proc file system of the host there, or set procPath to where it is`,
      code,
      { cause },
    );
  }
  const pids = names.filter((name) => /^\d+$/.test(name)).map(Number);
  if (pids.length === 0) {
    throw new ProcessWatcherError(
      `${procPath} holds no processes; mount the proc file system of the host there, or set procPath to where it is`,
      'ENOENT',
    );
  }
  return pids;
}
