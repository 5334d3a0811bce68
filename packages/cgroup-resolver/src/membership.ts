// Reads /proc/<pid>/cgroup (cgroups(7)). Pure.

export interface CgroupMembership {
  /** The path in the cgroup2 hierarchy, relative to the reader's cgroup namespace: may begin with `/..`. */
  readonly path: string;
  /** The cgroup was removed while the process, now a zombie, was in it. */
  readonly removed: boolean;
}

const removedMark = ' (deleted)';

/** The `0::` line; on a hybrid machine there is also one line for each v1 hierarchy. Undefined if there is none. */
export function parseMembership(text: string): CgroupMembership | undefined {
  const line = text.split('\n').find((candidate) => candidate.startsWith('0::'));
  if (line === undefined) return undefined;
  const path = line.slice('0::'.length);
  if (!path.startsWith('/')) return undefined;
  return path.endsWith(removedMark)
    ? { path: path.slice(0, -removedMark.length), removed: true }
    : { path, removed: false };
}
