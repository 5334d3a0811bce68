// One open network namespace for the several steps of one operation, so that all of them meet the same one.
import { closeSync, openSync } from 'node:fs';
import { SystemCallError, systemCall } from './errors.js';

/** An open namespace file and the path that it was opened by, which names it in errors. */
export interface NetnsTarget {
  readonly fd: number;
  readonly path: string;
}

/** Opens the namespace, runs `body` and closes it. Failures of the addon become SystemCallErrors. */
export function inNetns<Result>(path: string, body: (netns: NetnsTarget) => Result): Result {
  const fd = open(path);
  try {
    return systemCall(() => body({ fd, path }));
  } finally {
    closeSync(fd);
  }
}

function open(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (error) {
    // Node's own error has a negative errno.
    if (error instanceof Error && 'errno' in error && typeof error.errno === 'number')
      throw new SystemCallError({ errno: -error.errno, syscall: 'open', object: path });
    throw error;
  }
}

/** Runs a call; what `expected` makes of its failure's code is returned in place of the failure, unless undefined. */
export function unless<Result>(body: () => Result, expected: (code: string) => Result | undefined): Result {
  try {
    return systemCall(body);
  } catch (error) {
    const result = error instanceof SystemCallError ? expected(error.code) : undefined;
    if (result === undefined) throw error;
    return result;
  }
}
