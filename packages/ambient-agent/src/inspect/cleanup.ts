// Takes everything of Sluice off the node: attachments, pins, and what the agent left in its run directory.
import { existsSync, readdirSync, rmdirSync, unlinkSync } from 'node:fs';
import { cleanup as cleanupDatapath } from '@sluice/datapath';
import { lockFile, type FileLock } from '@sluice/linux';
import { memoryPath } from '../inventory/memory.js';
import { lockPath } from '../node/checks.js';
import { pinDirectory } from '../node/enforcement.js';
import { temporaryOf } from '../state/replace-file.js';
import { statePath } from '../state/state.js';
import { InspectError } from './errors.js';

export interface CleanupReport {
  /** Programs that were detached from the cgroup. */
  readonly detached: readonly string[];
  readonly unpinned: readonly string[];
  readonly files: readonly string[];
}

export interface CleanupPlaces {
  readonly bpffs: string;
  readonly runDir: string;
}

function heldLock(runDir: string, force: boolean): FileLock | undefined {
  if (!existsSync(runDir)) return undefined;
  const lock = lockFile(lockPath(runDir));
  if (lock === undefined && !force) {
    const message = `an agent is running (it holds ${lockPath(runDir)}) and would put back what is removed; stop it first, or use --force`;
    throw new InspectError('agent-running', message);
  }
  return lock;
}

/**
 * Idempotent. While it works no agent can start.
 * @throws InspectError agent-running; what the file system and the kernel say
 */
export function cleanupNode({ bpffs, runDir }: CleanupPlaces, force: boolean): CleanupReport {
  const lock = heldLock(runDir, force);
  try {
    const { detached, unpinned } = cleanupDatapath(pinDirectory(bpffs));
    const files: string[] = [];
    const written = [statePath(runDir), memoryPath(runDir)];
    // An agent that was killed while it wrote left the part that it had.
    const left = [...written, ...written.map(temporaryOf), ...(lock === undefined ? [] : [lockPath(runDir)])];
    for (const path of left) {
      if (!existsSync(path)) continue;
      unlinkSync(path);
      files.push(path);
    }
    if (existsSync(runDir) && readdirSync(runDir).length === 0) rmdirSync(runDir);
    // The lock's file is made by taking the lock: it is not news that it was removed.
    return { detached, unpinned, files: files.filter((path) => path !== lockPath(runDir)) };
  } finally {
    lock?.close();
  }
}
