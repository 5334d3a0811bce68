// Mounting in this process's mount namespace.
import { systemCall } from './errors.js';
import { native } from './native.js';

/** Flags of mount(2), from linux/mount.h. */
export const MountFlag = {
  RDONLY: 0x1,
  NOSUID: 0x2,
  NODEV: 0x4,
  NOEXEC: 0x8,
  REMOUNT: 0x20,
  BIND: 0x1000,
  MOVE: 0x2000,
  REC: 0x4000,
  UNBINDABLE: 0x20000,
  PRIVATE: 0x40000,
  SLAVE: 0x80000,
  SHARED: 0x100000,
} as const;

/** Flags of umount2(2), from sys/mount.h. */
export const UnmountFlag = { FORCE: 1, DETACH: 2, EXPIRE: 4, NOFOLLOW: 8 } as const;

/** mount(2). `source` and `fsType` may be empty or 'none' if the kernel ignores them. */
export function mount(source: string, target: string, fsType: string, flags = 0, data = ''): void {
  systemCall(() => native.mount(source, target, fsType, flags, data));
}

/** umount2(2). */
export function unmount(target: string, flags = 0): void {
  systemCall(() => native.unmount(target, flags));
}
