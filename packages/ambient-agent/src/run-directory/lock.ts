// The run directory's lock, which admits one agent. Another one may stand by, until the first ends.
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { errorCode, lockFile, waitForLock, type FileLock, type LockWait } from '@sluice/linux';
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

/** The lock of the run directory, which this agent has. */
export interface HeldLock {
  /** Whether another agent stands by. */
  readonly isAwaited: () => boolean;
  /** Before the end of the scope, so that the successor can begin. Idempotent. */
  readonly release: Effect.Effect<void>;
}

/** Held by the agent that is the next to have the lock, from before it waits until it has it. */
export const standbyLockPath = (runDir: string): string => join(runDir, 'standby.lock');

/** Whether an agent waits for the lock of this run directory. Changes nothing. */
export function isAwaited(runDir: string): boolean {
  const path = standbyLockPath(runDir);
  try {
    if (!existsSync(path)) return false;
    using lock = lockFile(path);
    return lock === undefined;
  } catch {
    return false;
  }
}

const heldLock = (runDir: string, lock: { close(): void }): HeldLock => ({
  isAwaited: () => isAwaited(runDir),
  release: Effect.sync(() => lock.close()),
});

/** Holds the lock while the scope lasts; undefined if another agent has it. */
export const takeLock = (runDir: string): Effect.Effect<HeldLock | undefined, StartupError, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(tryLock(runDir), (lock) => Effect.sync(() => lock?.close())),
    (lock) => (lock === undefined ? undefined : heldLock(runDir, lock)),
  );

export const lockedByAnother = (runDir: string): StartupError =>
  new StartupError({
    check: 'lock',
    message: `another agent is running: it holds ${lockPath(runDir)}; stop it first, or give this one its own \`paths.runDir\` and \`paths.bpffs\`, or set \`lock: wait\`, and it takes over when the other one ends`,
  });

/** Has the lock as soon as the agent that has it, and those that wait longer, end in any way. Holds it while the scope lasts. */
export const awaitLock = (runDir: string): Effect.Effect<HeldLock, StartupError, Scope.Scope> =>
  Effect.gen(function* () {
    const turn = yield* waited(runDir, standbyLockPath(runDir));
    const lock = yield* waited(runDir, lockPath(runDir));
    turn.close();
    return heldLock(runDir, lock);
  });

const waited = (runDir: string, path: string): Effect.Effect<LockWait, StartupError, Scope.Scope> => {
  const unusable = (error: unknown): StartupError =>
    new StartupError({ check: 'run-directory', message: unusableRunDir(runDir, error) });
  const wait = Effect.try({ try: () => waitForLock(path), catch: unusable });
  return Effect.acquireRelease(wait, (one) => Effect.sync(() => one.close())).pipe(
    Effect.tap((one) => Effect.tryPromise({ try: () => one.held, catch: unusable })),
  );
};
