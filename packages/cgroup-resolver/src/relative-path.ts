// Paths as the kernel writes them relative to a cgroup namespace: `/../../kubepods/a` is two up, then two down. Pure.

export interface RelativePath {
  /** How many levels above the namespace's root the downward part begins. */
  readonly ups: number;
  readonly names: readonly string[];
}

/** Reads `/`, `/a/b`, `/..`, `/../../a`. The kernel writes `..` only at the front (kernfs_path_from_node). */
export function parseRelativePath(path: string): RelativePath {
  const names = path.split('/').filter((name) => name !== '');
  const down = names.findIndex((name) => name !== '..');
  const ups = down < 0 ? names.length : down;
  return { ups, names: names.slice(ups) };
}

/**
 * The names that lead from a mounted directory to a cgroup, both given relative to one namespace root.
 * @param fromMount the names that lead from the mounted directory down to the namespace's root, when that is below it
 * @returns undefined when the cgroup is not below the mounted directory, or the names between are not known
 */
export function namesBelow(
  mounted: RelativePath,
  cgroup: RelativePath,
  fromMount: readonly string[] | undefined,
): readonly string[] | undefined {
  if (cgroup.ups === mounted.ups) {
    const inside = mounted.names.every((name, index) => cgroup.names[index] === name);
    return inside ? cgroup.names.slice(mounted.names.length) : undefined;
  }
  // The mount shows the namespace's root, too, and the cgroup branches off somewhere between the two.
  if (cgroup.ups < mounted.ups && mounted.names.length === 0 && fromMount !== undefined) {
    return [...fromMount.slice(0, mounted.ups - cgroup.ups), ...cgroup.names];
  }
  return undefined;
}
