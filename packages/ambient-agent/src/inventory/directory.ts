// A directory of manifests, which is read again when asked. Only files that changed are parsed, and a file that cannot be used
// keeps the objects that it last held.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { errorCode } from '@sluice/linux';
import { messageOf } from '../failure/message-of.js';
import { describeProblem, parseManifest } from './manifest.js';
import type { ManifestMemory } from './memory.js';
import { mergeFiles, type FileObjects } from './merge.js';
import { emptyInventory } from './model.js';
import type { InventorySnapshot } from './source.js';

interface KnownFile {
  /** Changes whenever the content may have changed: identity, size and time of the last change. */
  readonly version: string;
  /** The objects of the last good version. */
  readonly objects: FileObjects;
  readonly problems: readonly string[];
}

const manifestName = /^[^.].*\.(?:ya?ml|json)$/;

// A node's pods take a few MB at most. Parsing takes seconds for each 2 MB of YAML, and the agent waits for it.
const MAX_FILE_MIB = 8;
const MIB = 2 ** 20;

/** The directory could not be listed, because it is gone or may not be read. */
export class DirectoryError extends Error {
  override readonly name = 'DirectoryError';
}

export class ManifestDirectory {
  readonly path: string;
  #files: ReadonlyMap<string, KnownFile> = new Map();
  #snapshot: InventorySnapshot = { inventory: emptyInventory, problems: [] };

  readonly #memory: ManifestMemory | undefined;

  /** @param memory what an earlier run knew; used for files that cannot be used at the first look */
  constructor(path: string, memory?: ManifestMemory) {
    this.path = path;
    this.#memory = memory;
  }

  get snapshot(): InventorySnapshot {
    return this.#snapshot;
  }

  /**
   * Looks at every file, but not at subdirectories, dot files, or files that do not end in .yaml, .yml or .json.
   * @returns whether the snapshot changed
   * @throws DirectoryError when the directory cannot be listed; the snapshot stays as it was
   */
  scan(): boolean {
    const files = new Map<string, KnownFile>();
    for (const name of this.#list()) {
      const known = this.#readFile(name, this.#files.get(name));
      if (known !== undefined) files.set(name, known);
    }
    const isSame =
      files.size === this.#files.size && [...files].every(([name, known]) => this.#files.get(name) === known);
    this.#files = files;
    if (isSame) return false;
    this.#memory?.remember([...files.values()].map(({ objects }) => objects));
    const { inventory, duplicates } = mergeFiles([...files.values()].map(({ objects }) => objects));
    this.#snapshot = {
      inventory,
      problems: [...[...files.values()].flatMap(({ problems }) => problems), ...duplicates],
    };
    return true;
  }

  #lastGood(path: string, known: KnownFile | undefined): FileObjects {
    return known?.objects ?? this.#memory?.recall(path) ?? nothing(path);
  }

  #list(): string[] {
    try {
      return readdirSync(this.path, { withFileTypes: true })
        .filter((entry) => manifestName.test(entry.name) && !entry.isDirectory())
        .map((entry) => entry.name)
        .sort();
    } catch (cause) {
      const why = errorCode(cause) === 'ENOENT' ? 'does not exist' : `cannot be listed (${messageOf(cause)})`;
      const remedy = 'make it, or name another with --inventory or `inventory.directory`';
      throw new DirectoryError(`the inventory directory ${this.path} ${why}; ${remedy}`, { cause });
    }
  }

  #readFile(name: string, known: KnownFile | undefined): KnownFile | undefined {
    const path = join(this.path, name);
    try {
      const status = statSync(path, { bigint: true });
      const version = `${status.ino}:${status.size}:${status.mtimeNs}:${status.ctimeNs}`;
      if (known?.version === version) return known;
      // Opening a pipe would block, and reading a device may never end.
      if (!status.isFile()) return this.#refused(path, version, known, 'is not a file; remove it');
      if (status.size > MAX_FILE_MIB * MIB)
        return this.#refused(path, version, known, `is larger than ${MAX_FILE_MIB} MiB; split it`);
      const manifest = parseManifest(readFileSync(path, 'utf8'), path);
      if (manifest.problems.length === 0) {
        return { version, objects: { file: path, pods: manifest.pods, namespaces: manifest.namespaces }, problems: [] };
      }
      return { version, objects: this.#lastGood(path, known), problems: manifest.problems.map(describeProblem) };
    } catch (cause) {
      const code = errorCode(cause);
      const message = messageOf(cause);
      // The file was removed after the directory was listed.
      if (code === 'ENOENT') return undefined;
      const version = `unreadable:${code ?? message}`;
      if (known?.version === version) return known;
      return this.#refused(path, version, known, `cannot be read (${message})`);
    }
  }

  #refused(path: string, version: string, known: KnownFile | undefined, why: string): KnownFile {
    const problem = `${path}: ${why}; the objects last read from it stay in force`;
    return { version, objects: this.#lastGood(path, known), problems: [problem] };
  }
}

function nothing(file: string): FileObjects {
  return { file, pods: [], namespaces: [] };
}
