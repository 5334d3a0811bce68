// Writes a file such that readers see the former one or the new one, never a part.
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';

/** Mode 0600. Throws what the file system says; the former file stays then. */
export function replaceFile(path: string, text: string): void {
  const temporary = `${path}.${process.pid}`;
  try {
    const file = openSync(temporary, 'w', 0o600);
    try {
      writeSync(file, text);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}
