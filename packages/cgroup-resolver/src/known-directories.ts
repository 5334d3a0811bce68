// Listings of cgroupfs directories that miss nothing that was there before and still is.
//
// While siblings are removed, kernfs can list a directory wrongly. If the entry at which the reader stands goes away, kernfs
// looks for the place again and ends up before it, or one entry too far (kernfs_dir_pos and kernfs_dir_next_pos of
// fs/kernfs/dir.c): an entry comes twice, or a live one is missing. A pod must not leave the mesh because of that.
import { identity, subdirectories } from './vanishing.js';

/** The names of the directories in a directory, in any order; undefined when it does not exist. */
export type ListDirectories = (path: string) => readonly string[] | undefined;

/** A walk's way to list directories. */
export interface Walk {
  readonly list: ListDirectories;
  /** Call it after a walk that listed every directory: what the walk did not list is forgotten. */
  readonly completed: () => void;
}

/** Remembers the listings of the last completed walk. */
export class KnownDirectories {
  readonly #read: ListDirectories;
  readonly #exists: (path: string) => boolean;
  #last: ReadonlyMap<string, readonly string[]> = new Map();

  /** The arguments are for tests. */
  constructor(
    read: ListDirectories = subdirectories,
    exists: (path: string) => boolean = (path) => identity(path) !== undefined,
  ) {
    this.#read = read;
    this.#exists = exists;
  }

  walk(): Walk {
    const now = new Map<string, readonly string[]>();
    return {
      list: (path) => {
        const names = this.#list(path);
        if (names !== undefined) now.set(path, names);
        return names;
      },
      completed: () => {
        this.#last = now;
      },
    };
  }

  #list(path: string): readonly string[] | undefined {
    const listed = this.#read(path);
    if (listed === undefined) return undefined;
    const names = new Set(listed);
    for (const name of this.#last.get(path) ?? [])
      if (!names.has(name) && this.#exists(`${path}/${name}`)) names.add(name);
    return [...names];
  }
}
