// What the manifests last held, kept across restarts: an agent that starts beside a malformed manifest still knows whom the
// file had put into the mesh, and takes nobody out for a typing error.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { replaceFile } from '../run-directory/replace-file.js';
import * as Schema from 'effect/Schema';
import type { FileObjects } from './merge.js';

/** Raised when the kept form would be misread. */
const MEMORY_VERSION = 1;

const strings = Schema.Array(Schema.String);
const stringMap = Schema.Record(Schema.String, Schema.String);
const isKept = Schema.is(
  Schema.Struct({
    version: Schema.Literal(MEMORY_VERSION),
    files: Schema.Array(
      Schema.Struct({
        file: Schema.String,
        pods: Schema.Array(
          Schema.Struct({
            uid: Schema.String,
            name: Schema.String,
            namespace: Schema.String,
            labels: stringMap,
            annotations: stringMap,
            phase: Schema.String,
            ips: strings,
            badIps: strings,
            bornMs: Schema.Finite,
          }),
        ),
        namespaces: Schema.Array(Schema.Struct({ name: Schema.String, labels: stringMap })),
      }),
    ),
  }),
);

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
      const kept: unknown = JSON.parse(readFileSync(this.#path, 'utf8'));
      const files = isKept(kept) ? (kept.files as readonly unknown[] as readonly FileObjects[]) : [];
      return files.find((objects) => objects.file === file);
    } catch {
      return undefined;
    }
  }

  /** In the place of everything kept before. */
  remember(files: readonly FileObjects[]): void {
    const text = `${JSON.stringify({ version: MEMORY_VERSION, files })}\n`;
    if (text === this.#last) return;
    try {
      replaceFile(this.#path, text);
      this.#last = text;
    } catch {
      // The state file, in the same directory, cannot be written either, and that is reported.
    }
  }
}
