// A cgroup of the testbed's own in the cgroup2 hierarchy; removing it removes everything in it.
import { mkdirSync, readdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { errorCode } from '@sluice/linux';
import { blockUntil } from './patience.js';
import { cgroup2Mount, mountsOf } from './requires.js';

/** A directory of cgroupfs. Making the object makes the directory. */
export class Cgroup {
  /** Absolute path of the directory. */
  readonly path: string;

  constructor(path: string) {
    this.path = path;
    mkdirSync(path, { recursive: true });
  }

  /** The kernel's cgroup id: the inode of the directory. */
  get id(): bigint {
    return statSync(this.path, { bigint: true }).ino;
  }

  /** The process ids in this cgroup, without those of its children. */
  get pids(): number[] {
    return readFileSync(join(this.path, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).map(Number);
  }

  /** The path from the hierarchy's root, as /proc/<pid>/cgroup shows it. */
  get hierarchyPath(): string {
    return `/${relative(cgroup2Root(), this.path)}`;
  }

  child(name: string): Cgroup {
    return new Cgroup(join(this.path, name));
  }

  /** Kills every process in it and below, and removes the directories. Does nothing if it is gone already. */
  remove(): void {
    removeCgroup(this.path);
  }
}

/** The mount point of cgroup2, or an error that says what to do. */
export function cgroup2Root(): string {
  const mount = cgroup2Mount();
  if (mount === undefined) throw new Error('no cgroup2 is mounted; mount one: mount -t cgroup2 none /sys/fs/cgroup');
  return mount;
}

/** See Cgroup.remove(). Synchronous, because it also runs when the process is about to exit. */
export function removeCgroup(path: string): void {
  unlessGone(() => {
    blockUntil(`the processes in ${path} have ended`, () => {
      killCgroup(path);
      return !isPopulated(path);
    });
    removeTree(path, killCgroup);
  });
}

/** Since kernel 5.14; reaches children and processes that fork, and none that enters afterwards. */
function killCgroup(path: string): void {
  writeFileSync(join(path, 'cgroup.kill'), '1');
}

/** Where the hierarchies of cgroup v1 are mounted; none on a machine that has only v2. */
export function cgroup1Roots(): string[] {
  return mountsOf('cgroup');
}

/** Removes a v1 cgroup and those below it. Its processes must have ended before: v1 cannot kill them. */
export function removeCgroup1(path: string): void {
  unlessGone(() => removeTree(path, () => {}));
}

function isPopulated(path: string): boolean {
  return /^populated 1$/m.test(readFileSync(join(path, 'cgroup.events'), 'utf8'));
}

/** `kill` is called while a cgroup is not empty: a process that was being started may enter it meanwhile. */
function removeTree(path: string, kill: (path: string) => void): void {
  blockUntil(`${path} is empty`, () => {
    const children = readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    for (const child of children) unlessGone(() => removeTree(join(path, child.name), kill));
    try {
      rmdirSync(path);
      return true;
    } catch (error) {
      if (errorCode(error) !== 'EBUSY') throw error;
      kill(path);
      return false;
    }
  });
}

/** Someone else may remove the same cgroup: a container runtime, or another sweep. */
function unlessGone(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!['ENOENT', 'ENODEV'].includes(errorCode(error) ?? '')) throw error;
  }
}
