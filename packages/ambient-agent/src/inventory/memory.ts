// What the manifests last held, kept across restarts: an agent that starts beside a malformed manifest still knows whom the
// file had put into the mesh, and takes nobody out for a typing error.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { replaceFile } from '../state/replace-file.js';
import type { FileObjects } from './merge.js';

/** Raised when the kept form would be misread. */
const MEMORY_VERSION = 1;

interface Kept {
  readonly version: number;
  readonly files: readonly FileObjects[];
}

export const memoryPath = (runDir: string): string => join(runDir, 'inventory.json');

/** Nothing here fails: without a memory the agent knows what it reads, and no more. */
export class ManifestMemory {
  readonly #path: string;
  #last = '';

  constructor(runDir: string) {
    this.#path = memoryPath(runDir);
  }

  /** The objects of the last good version of a file, by its path. */
  recall(file: string): FileObjects | undefined {
    try {
      const kept = JSON.parse(readFileSync(this.#path, 'utf8')) as Kept;
      return kept.version === MEMORY_VERSION ? kept.files.find((objects) => objects.file === file) : undefined;
    } catch {
      return undefined;
    }
  }

  /** In the place of everything kept before. */
  remember(files: readonly FileObjects[]): void {
    const text = `${JSON.stringify({ version: MEMORY_VERSION, files } satisfies Kept)}\n`;
    if (text === this.#last) return;
    try {
      replaceFile(this.#path, text);
      this.#last = text;
    } catch {
      // The state file, in the same directory, cannot be written either, and that is reported.
    }
  }
}
