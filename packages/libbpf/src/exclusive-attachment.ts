// The old, exclusive way of attaching to a cgroup. Sluice itself never uses it; tests use it to put a real foreign program in
// the way.
import { native } from './native.js';
import { attempt } from './error.js';
import { withDirectory } from './descriptor.js';
import { attachTypeNumber } from './names.js';
import type { BpfProgram } from './program.js';

/**
 * Bits of BPF_PROG_ATTACH's flags (linux/bpf.h): 0 = exclusive, 1 = overridable below, 2 = several, 66 = several, and it
 * runs before what is listed before it (BPF_F_PREORDER; EINVAL where the kernel does not have it).
 */
export type OldAttachFlags = 0 | 1 | 2 | 66;

/** BPF_PROG_ATTACH to a cgroup. It lasts until it is detached, or the cgroup is removed: no process holds it. */
export function attachCgroupExclusively(program: BpfProgram, cgroupPath: string, flags: OldAttachFlags = 0): void {
  const type = attachTypeNumber(program.attachType ?? '');
  attempt(`attach program '${program.name}' to cgroup ${cgroupPath} the old way`, () =>
    withDirectory(cgroupPath, (fd) => native.programAttach(program.fd, fd, type, flags)),
  );
}

/** BPF_PROG_DETACH: ends what attachCgroupExclusively began. */
export function detachCgroup(program: BpfProgram, cgroupPath: string): void {
  const type = attachTypeNumber(program.attachType ?? '');
  attempt(`detach program '${program.name}' from cgroup ${cgroupPath}`, () =>
    withDirectory(cgroupPath, (fd) => native.programDetach(program.fd, fd, type)),
  );
}
