// The cgroups of a tree, and whether the kernel runs their programs in the order in which it lists them.
//
// When a link gets another program, the kernel replaces it in the arrays of the link's cgroup and of all cgroups below, at a
// place that it counts in its lists (kernel/bpf/cgroup.c, replace_effective_prog). A program that was attached with
// BPF_F_PREORDER runs before its place in the list, and kernels with CVE-2026-72427 replace a neighbour instead of it. The
// query shows that flag on no kernel (6.1, 6.12, 6.18), but it shows the lists and the order in which they run.
import { readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ATTACH_ALLOW_MULTI, queryCgroup, type CgroupPrograms } from '@sluice/libbpf';
import { errorCode } from '@sluice/linux';

export class CgroupTree {
  readonly #root: string;
  #paths: ReadonlyMap<bigint, string> | undefined;

  /** `root` is a directory of cgroup2. The tree is read when it is first asked for, and not again. */
  constructor(root: string) {
    this.#root = root;
  }

  /** Undefined if the tree has no cgroup with that id. */
  pathOf(id: bigint): string | undefined {
    return this.#all().get(id);
  }

  /** False if the program of a link to that cgroup cannot be replaced safely. */
  isOrderAsListed(cgroup: string, attachType: string): boolean {
    const below = [...this.#all().values()].filter((path) => path === cgroup || path.startsWith(`${cgroup}/`));
    return below.every((directory) => {
      const own = query(directory, attachType, false);
      // A cgroup without programs of its own has the array of its parent.
      if (own === undefined || own.programs.length === 0) return true;
      const listed = [...own.programs, ...programsAbove(directory, attachType)].map(({ id }) => id);
      const run = query(directory, attachType, true)?.programs.map(({ id }) => id) ?? listed;
      return run.length === listed.length && run.every((id, index) => id === listed[index]);
    });
  }

  #all(): ReadonlyMap<bigint, string> {
    this.#paths ??= new Map(directoriesOf(this.#root).flatMap((path) => unlessGone(() => [[idOf(path), path]]) ?? []));
    return this.#paths;
  }
}

const idOf = (path: string): bigint => statSync(path, { bigint: true }).ino;

/** The directory itself and all below it. */
function directoriesOf(root: string): string[] {
  const found = [root];
  // The list grows while it is read.
  for (const directory of found) {
    const entries = unlessGone(() => readdirSync(directory, { withFileTypes: true })) ?? [];
    for (const entry of entries) if (entry.isDirectory()) found.push(join(directory, entry.name));
  }
  return found;
}

/** What runs after a cgroup's own programs: those of each cgroup above it that allows others beside its own. */
function programsAbove(cgroup: string, attachType: string): CgroupPrograms['programs'] {
  const found: CgroupPrograms['programs'] = [];
  for (let above = dirname(cgroup); above !== dirname(above); above = dirname(above)) {
    const there = query(above, attachType, false);
    // The mount point's parent is no cgroup.
    if (there === undefined) break;
    if ((there.attachFlags & ATTACH_ALLOW_MULTI) !== 0) found.push(...there.programs);
  }
  return found;
}

/** Undefined if there is no such cgroup. */
const query = (directory: string, attachType: string, isEffective: boolean): CgroupPrograms | undefined =>
  unlessGone(() => queryCgroup(directory, attachType, isEffective));

function unlessGone<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    // EBADF: a directory, but not of cgroup2.
    if (['ENOENT', 'ENODEV', 'EBADF'].includes(errorCode(error) ?? '')) return undefined;
    throw error;
  }
}
