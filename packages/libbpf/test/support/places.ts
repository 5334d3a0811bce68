// Places in the kernel that a test makes for itself and that are gone when its scope is left: a cgroup, a bpffs.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmdirSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cgroup2Mount } from '@sluice/testbed';

export interface Cgroup {
  path: string;
  /** The inode of the directory, which is the cgroup's id. */
  id: bigint;
  remove(): void;
}

let count = 0;

/** A cgroup below the cgroup2 mount, or below another one. */
export function makeCgroup(parent = cgroup2Mount() ?? '/sys/fs/cgroup', name = uniqueName()): Cgroup {
  const path = join(parent, name);
  mkdirSync(path);
  return { path, id: statSync(path, { bigint: true }).ino, remove: () => rmdirSync(path) };
}

/** A BPF file system of the test's own. */
export function mountBpffs(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'sluice-bpffs-'));
  execFileSync('mount', ['-t', 'bpf', 'bpf', path]);
  return {
    path,
    remove: () => {
      execFileSync('umount', [path]);
      rmdirSync(path);
    },
  };
}

/** Runs a shell command in a process that was in the cgroup before the command began. */
export function runIn(cgroup: Cgroup, command: string): { status: number; output: string } {
  const script = `echo $$ > ${cgroup.path}/cgroup.procs && exec ${command} 2>&1`;
  try {
    return { status: 0, output: execFileSync('sh', ['-c', script], { encoding: 'utf8' }) };
  } catch (error) {
    const { status, stdout } = error as { status: number; stdout: string };
    return { status, output: stdout };
  }
}

/** The message of what `run` throws. */
export function messageOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error('nothing was thrown');
}

function uniqueName(): string {
  count += 1;
  return `sluice-libbpf-${process.pid}-${count}`;
}
