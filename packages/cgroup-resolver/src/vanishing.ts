// Reads files and directories that may go away at any moment: processes end and cgroups are removed meanwhile. What is gone is
// `undefined`, a refusal is a CgroupError, and anything else is thrown as it is.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { errorCode } from '@sluice/linux';
import { CgroupError } from './errors.js';

// ENOENT: the path is gone. ESRCH: the process behind an open /proc file is gone. ENODEV: the cgroup behind an open cgroupfs
// file is gone (kernfs). ENOTDIR: a parent was replaced.
const goneCodes: ReadonlySet<string> = new Set(['ENOENT', 'ESRCH', 'ENODEV', 'ENOTDIR']);
// The error for cgroup.procs of a threaded cgroup: its processes are listed in the domain cgroup above (cgroups(7)).
const threadedCode = 'EOPNOTSUPP';

function unlessGone<Result>(path: string, read: () => Result): Result | undefined {
  try {
    return read();
  } catch (error) {
    const code = errorCode(error) ?? '';
    if (goneCodes.has(code) || code === threadedCode) return undefined;
    if (code === 'EACCES' || code === 'EPERM') throw refusal(path, error);
    throw error;
  }
}

function refusal(path: string, cause: unknown): CgroupError {
  const remedy = path.includes('/ns/')
    ? 'looking at another process’s namespaces needs root, CAP_SYS_PTRACE and the host pid namespace (hostPID)'
    : 'run as root, and mount the host’s /proc and cgroup tree readable';
  return new CgroupError('permission-denied', path, `${path}: access is refused; ${remedy}`, cause);
}

export function readText(path: string): string | undefined {
  return unlessGone(path, () => readFileSync(path, 'utf8'));
}

export interface Identity {
  readonly dev: bigint;
  readonly inode: bigint;
  /** Whether a directory is known to contain no directory: kernfs counts each as a link, beside the usual two. */
  readonly isLeaf: boolean;
}

const linksOfLeaf = 2n;

/** The inode and the device of what the path leads to, exactly: cgroup ids are 64 bits wide. */
export function identity(path: string): Identity | undefined {
  const status = unlessGone(path, () => statSync(path, { bigint: true, throwIfNoEntry: false }));
  if (status === undefined) return undefined;
  return { dev: status.dev, inode: status.ino, isLeaf: status.isDirectory() && status.nlink === linksOfLeaf };
}

/** Names of the directories in a directory, from one getdents(2) pass: kernfs gives the types, so nothing is stat'ed. */
export function subdirectories(path: string): string[] | undefined {
  const entries = unlessGone(path, () => readdirSync(path, { withFileTypes: true }));
  return entries?.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
}
