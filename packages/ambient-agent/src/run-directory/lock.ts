// The run directory's lock, which admits one agent.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { errorCode, lockFile, type FileLock } from '@sluice/linux';
import * as Effect from 'effect/Effect';
import type * as Scope from 'effect/Scope';
import { messageOf } from '../failure/message-of.js';
import { StartupError } from '../failure/startup-error.js';

export const lockPath = (runDir: string): string => join(runDir, 'lock');

/** The message about a run directory that cannot be written or locked. */
export function unusableRunDir(runDir: string, error: unknown): string {
  const why = errorCode(error) === 'EROFS' ? 'its file system is read-only (EROFS)' : messageOf(error);
  return `the run directory ${runDir} cannot be used: ${why}; name another with \`paths.runDir\``;
}

/** Makes the run directory (0700) and takes its lock; undefined when another process has it. */
export const tryLock = (runDir: string): Effect.Effect<FileLock | undefined, StartupError> =>
  Effect.try({
    try: () => {
      mkdirSync(runDir, { recursive: true, mode: 0o700 });
      return lockFile(lockPath(runDir));
    },
    catch: (error) => new StartupError({ check: 'run-directory', message: unusableRunDir(runDir, error) }),
  });

/** Holds the lock while the scope lasts. */
export const holdLock = (runDir: string): Effect.Effect<void, StartupError, Scope.Scope> =>
  Effect.gen(function* () {
    const lock = yield* Effect.acquireRelease(tryLock(runDir), (held) => Effect.sync(() => held?.close()));
    if (lock !== undefined) return;
    const message = `another agent is running: it holds ${lockPath(runDir)}; stop it first, or give this one its own \`paths.runDir\` and \`paths.bpffs\``;
    return yield* new StartupError({ check: 'lock', message });
  });
