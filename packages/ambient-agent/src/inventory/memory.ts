// Keeps what the manifests last held across restarts. An agent that starts with a malformed manifest still knows which pods the
// file put into the mesh, and takes none of them out because of a typing error.
import { join } from 'node:path';
import * as Schema from 'effect/Schema';
import { KeptFile } from '../run-directory/kept-file.js';
import { FileObjects } from './merge.js';

const KeptManifests = Schema.Struct({ version: Schema.Literal(1), files: Schema.Array(FileObjects) });
type KeptManifests = typeof KeptManifests.Type;

export const manifestsFile = (runDir: string): KeptFile<KeptManifests> =>
  new KeptFile(join(runDir, 'inventory.json'), Schema.fromJsonString(KeptManifests));

/** Nothing here fails: without a memory the agent knows only what it reads. */
export class ManifestMemory {
  readonly #file: KeptFile<KeptManifests>;
  #kept: readonly FileObjects[];

  /** @param kept what an earlier agent left in the file */
  constructor(file: KeptFile<KeptManifests>, kept: KeptManifests | undefined) {
    this.#file = file;
    this.#kept = kept?.files ?? [];
  }

  /** The objects of the last good version of a file, by its path. */
  recall(file: string): FileObjects | undefined {
    return this.#kept.find((objects) => objects.file === file);
  }

  /** Replaces everything that was kept before. */
  remember(files: readonly FileObjects[]): void {
    this.#kept = files;
    try {
      this.#file.replace({ version: 1, files });
    } catch {
      // The state file, in the same directory, cannot be written either, and that is reported.
    }
  }
}
