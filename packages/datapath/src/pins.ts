// What is found at the place of a pin: the object that is looked for, nothing, or something that does not belong there.
import { existsSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { BpfError, isBpfFileSystem } from '@sluice/libbpf';

/** No such pin (or a dangling link), an object of another kind, or no BPF object, such as a directory (bpf_inode_type). */
const NOT_THERE: readonly (string | undefined)[] = ['ENOENT', 'EINVAL', 'EACCES'];

/** Opens what is pinned; undefined if it is not there. Anything else at the place stays until {@link clearPin}. */
export function openIfPinned<T>(pin: string, open: (pin: string) => T): T | undefined {
  try {
    return open(pin);
  } catch (error) {
    if (error instanceof BpfError && NOT_THERE.includes(error.code)) return undefined;
    throw error;
  }
}

/** Makes room for a pin. The object goes, too, unless something else holds it. Idempotent. */
export function clearPin(pin: string): void {
  rmSync(pin, { recursive: true, force: true });
}

/** Whether something can be pinned in this directory, which may still have to be made. */
export function canPinIn(directory: string): boolean {
  let existing = directory;
  while (!existsSync(existing)) existing = dirname(existing);
  return isBpfFileSystem(existing);
}

/** By which a pin is told from another one at its place; undefined if nothing is there. */
export const inodeOf = (pin: string): bigint | undefined => statSync(pin, { bigint: true, throwIfNoEntry: false })?.ino;
