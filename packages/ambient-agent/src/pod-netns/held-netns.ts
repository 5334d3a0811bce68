// One pod's network namespace, held open while it is changed, so that every step meets the same one and the right one.
import { closeSync, openSync } from 'node:fs';
import { netnsCookie, SystemCallError } from '@sluice/linux';

/** A path below /proc/<pid> goes away with its process: ENOENT, or ESRCH if that happens while it is opened. */
const GONE: ReadonlySet<unknown> = new Set(['ENOENT', 'ESRCH']);

/**
 * Opens the namespace file and runs `body` with a path that leads to that very namespace until `body` returns.
 * @returns undefined when there is no such file, or it is of another namespace by now (a pid that was given anew): the
 * pod's namespace is gone, and nothing was touched.
 * @throws SystemCallError naming `path`, and whatever else `body` throws.
 */
export function inHeldNetns<Result>(path: string, cookie: bigint, body: (held: string) => Result): Result | undefined {
  const fd = open(path);
  if (fd === undefined) return undefined;
  const held = `/proc/self/fd/${fd}`;
  try {
    return netnsCookie(held) === cookie ? body(held) : undefined;
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    const { errno, syscall, object } = error;
    throw new SystemCallError({ errno, syscall, object: object.replace(held, path) });
  } finally {
    closeSync(fd);
  }
}

function open(path: string): number | undefined {
  try {
    return openSync(path, 'r');
  } catch (error) {
    const { code, errno } = error as NodeJS.ErrnoException;
    if (GONE.has(code)) return undefined;
    // Node's errno is negative.
    throw new SystemCallError({ errno: -(errno ?? 0), syscall: 'open', object: path });
  }
}
