// A lock file: it has at most one holder on this machine, and none that outlives its process.
import { systemCall } from './errors.js';
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
