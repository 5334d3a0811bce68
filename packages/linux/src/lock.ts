// A lock file: it has at most one holder on this machine, and none that outlives its process.
import { constants } from 'node:os';
import { SystemCallError, systemCall } from './errors.js';
import { native, type NativeFileLock } from './native.js';

/** A held lock. close() is idempotent. */
export interface FileLock extends Disposable {
  close(): void;
}

/**
 * Takes flock(2) LOCK_EX on a file, without waiting. The file is made if absent (mode 0600) and left in place for good.
 * Keep a reference: a lock that is garbage collected is dropped. Children do not inherit it (O_CLOEXEC).
 * @returns undefined when another open file, of this process or another, holds the lock.
 * @throws SystemCallError from open(2); ELOOP when the path is a symbolic link.
 */
export function lockFile(path: string): FileLock | undefined {
  const lock: NativeFileLock = systemCall(() => new native.FileLock(path));
  if (!lock.held) return undefined;
  const close = (): void => lock.close();
  return { close, [Symbol.dispose]: close };
}

/** A lock that is being waited for. close() gives up, or drops the lock if it is held by now; `held` is then never settled. */
export interface LockWait extends Disposable {
  /** @throws SystemCallError (the promise rejects) ENOLCK: the kernel has no memory for it. */
  readonly held: Promise<void>;
  close(): void;
}

/**
 * Takes the same lock as {@link lockFile} as soon as its holder drops it or ends, without asking again and again: a thread blocks in
 * flock(2). Keeps the process alive until then.
 * @throws SystemCallError from open(2)
 */
export function waitForLock(path: string): LockWait {
  const { promise: held, resolve, reject } = withResolvers();
  const wait: NativeFileLock = systemCall(
    () =>
      new native.LockWait(path, () => {
        if (wait.held) resolve();
        else reject(new SystemCallError({ errno: constants.errno.ENOLCK, syscall: 'flock', object: path }));
      }),
  );
  const close = (): void => wait.close();
  return { held, close, [Symbol.dispose]: close };
}

function withResolvers(): { promise: Promise<void>; resolve: () => void; reject: (error: Error) => void } {
  let resolve = (): void => {};
  let reject: (error: Error) => void = () => {};
  const promise = new Promise<void>((onHeld, onError) => {
    resolve = onHeld;
    reject = onError;
  });
  return { promise, resolve, reject };
}
