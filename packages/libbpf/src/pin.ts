// Pins: names in a BPF file system that keep programs, maps and links alive without a process.
import { closeSync, readlinkSync, statfsSync, unlinkSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { native } from './native.js';
import { attempt, BpfError, refuse } from './error.js';
import type { CallFailure } from './error.js';

/** BPF_FS_MAGIC of linux/magic.h. */
const BPF_FS_MAGIC = 0xcafe4a11;

/** Pins a descriptor at `path`. EEXIST if something is there, EPERM or EINVAL if it is not in a bpffs. */
export function pinAt(fd: number, path: string, what: string): void {
  attempt(
    `pin ${what} at ${path}`,
    () => native.objPin(fd, path),
    (failure) => explainPin(failure, path),
  );
}

export type PinnedKind = 'map' | 'program' | 'link';

/** What the kernel calls the file behind a descriptor (anon_inode_getfd in kernel/bpf/syscall.c). */
const KIND_OF_FILE: ReadonlyMap<string, PinnedKind> = new Map([
  ['anon_inode:bpf-map', 'map'],
  ['anon_inode:bpf-prog', 'program'],
  ['anon_inode:bpf_link', 'link'],
]);

/** The descriptor behind a pin. EINVAL when something of another kind is pinned there. */
export function openPin(path: string, wanted: PinnedKind): number {
  const what = `open the pinned ${wanted} ${path}`;
  const fd = attempt(
    what,
    () => native.objGet(path),
    (failure) => (failure.code === 'ENOENT' ? 'there is no such pin (ENOENT)' : explainPin(failure, path)),
  );
  const kind = kindOf(fd);
  if (kind !== undefined && kind !== wanted) {
    closeSync(fd);
    throw refuse('EINVAL', `cannot ${what}: what is pinned there is a ${kind}`);
  }
  return fd;
}

/** undefined if /proc does not tell. */
function kindOf(fd: number): PinnedKind | undefined {
  try {
    return KIND_OF_FILE.get(readlinkSync(`/proc/self/fd/${fd}`));
  } catch {
    return undefined;
  }
}

/** Removes a pin; it is not an error if it is gone already. */
export function unpinAt(path: string, what: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const { code = 'EIO', errno = 0, message }: NodeJS.ErrnoException = error;
    if (code === 'ENOENT') return;
    throw new BpfError(`cannot unpin ${what}: ${message}`, { code, errno: Math.abs(errno), syscall: 'unlink' });
  }
}

/** Whether the path is there and lies in a BPF file system. */
export function isBpfFileSystem(path: string): boolean {
  try {
    // statfs's type is a signed long on some machines: compare the low 32 bits.
    return (statfsSync(path).type & 0xffffffff) >>> 0 === BPF_FS_MAGIC;
  } catch {
    return false;
  }
}

function explainPin(failure: CallFailure, path: string): string | undefined {
  if (failure.code === 'EEXIST') return 'something is pinned there already (EEXIST). Open it, or remove the pin first';
  if (failure.code === 'ENOENT') return `the directory ${dirname(path)} does not exist (ENOENT). Make it first`;
  if (failure.code !== 'EPERM' && failure.code !== 'EINVAL') return undefined;
  if (!isBpfFileSystem(dirname(path))) {
    return `${dirname(path)} is not in a BPF file system (${failure.code}). Mount one: mount -t bpf bpf /sys/fs/bpf`;
  }
  // The kernel reserves names with dots (bpf_lookup in kernel/bpf/inode.c).
  if (basename(path).includes('.')) return `a pin's name must not hold a dot (${failure.code})`;
  return undefined;
}
