// Writes a file such that readers see the former one or the new one, never a part.
import { renameSync, rmSync, writeFileSync } from 'node:fs';

/** Where the new content lies until it is whole. One writer at a time: the agent holds the run directory's lock. */
export const temporaryOf = (path: string): string => `${path}.new`;

/** Mode 0600. Throws what the file system says; the former file stays then. */
export function replaceFile(path: string, text: string): void {
  const temporary = temporaryOf(path);
  try {
    // No fsync: it is for readers of this boot, in a directory that is a tmpfs on most machines, and it would hold up a pass.
    writeFileSync(temporary, text, { mode: 0o600 });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}
