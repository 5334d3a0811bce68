// Finds the cgroup2 hierarchy: where it is mounted, which part of it the mount shows, and where in it this process is.
import { readlinkSync, statfsSync } from 'node:fs';
import { CgroupError } from './errors.js';
import { parseMembership } from './membership.js';
import { parseMountinfo, type MountEntry } from './mountinfo.js';
import { readProcess } from './process.js';
import { namesBelow, parseRelativePath } from './relative-path.js';
import { identity, readText, subdirectories } from './vanishing.js';

/** A mounted cgroup2 hierarchy, or the part of it that the mount shows. */
export interface CgroupHierarchy {
  /** Where it is mounted, as an absolute path. */
  readonly mountPoint: string;
  /** mountinfo's root field: the mounted directory, relative to the root of our own cgroup namespace. */
  readonly mountRoot: string;
  /**
   * Where the root of our cgroup namespace lies, relative to the mount point: '/' when they are the same, '/a/b' when it is
   * below, '/..' when it is above (a bind mount of a subtree), '' when it is unknown.
   */
  readonly nsRoot: string;
  /** Depth of the mounted directory below the hierarchy's root: the kernel's `level`, 0 for the root itself. */
  readonly level: number;
  /** False when the mount shows a subtree and nothing visible says how deep it is: `level` is then the least it can be. */
  readonly levelKnown: boolean;
}

// CGROUP2_SUPER_MAGIC, linux/magic.h.
const cgroup2Magic = 0x63677270;
// The root directory of every kernfs tree has inode 1 (kernfs_create_root), which is therefore its cgroup id.
const rootCgroupId = 1n;
// The inode of the initial cgroup namespace: PROC_CGROUP_INIT_INO, linux/proc_ns.h.
const initialCgroupNamespace = 'cgroup:[4026531835]';
// kthreadd: every kernel thread's parent, which nothing can move out of the root cgroup.
const kthreaddPid = 2;

/** Whether a path is on a cgroup2 file system, from statfs(2). False when it does not exist. */
export function isCgroup2(path: string): boolean {
  try {
    return statfsSync(path).type === cgroup2Magic;
  } catch {
    return false;
  }
}

/** Candidates among the mounts, the one that shows most of the hierarchy first. Hidden mounts are still included. Pure. */
export function cgroup2Mounts(entries: readonly MountEntry[]): MountEntry[] {
  const topmost = new Map(entries.map((entry) => [entry.mountPoint, entry] as const));
  const seen = (entry: MountEntry): number => {
    const root = parseRelativePath(entry.root);
    return root.ups - root.names.length;
  };
  return [...topmost.values()]
    .filter((entry) => entry.fsType === 'cgroup2')
    .sort((a, b) => seen(b) - seen(a) || a.mountPoint.length - b.mountPoint.length);
}

/** The names from the mount point down to our namespace's root, found by the directory that holds our own process. */
function findNamespaceRoot(entry: MountEntry, procPath: string): readonly string[] | undefined {
  const mounted = parseRelativePath(entry.root);
  const membership = parseMembership(readText(`${procPath}/self/cgroup`) ?? '');
  if (membership === undefined) return undefined;
  const own = parseRelativePath(membership.path);
  // We were moved out of our namespace: no path that we can read contains the name of its root.
  if (own.ups > 0) return undefined;
  const depth = mounted.ups + own.names.length;
  const self = String(process.pid);
  const search = (directory: string, names: readonly string[]): readonly string[] | undefined => {
    if (names.length === depth) {
      const processes = readText(`${directory}/cgroup.procs`)?.split('\n') ?? [];
      const tailFits = own.names.every((name, index) => names[mounted.ups + index] === name);
      return tailFits && processes.includes(self) ? names : undefined;
    }
    for (const name of subdirectories(directory) ?? []) {
      const found = search(`${directory}/${name}`, [...names, name]);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  return search(entry.mountPoint, [])?.slice(0, mounted.ups);
}

function namespaceRoot(entry: MountEntry, procPath: string): string {
  const mounted = parseRelativePath(entry.root);
  if (mounted.ups === 0) return mounted.names.length === 0 ? '/' : '/..'.repeat(mounted.names.length);
  if (mounted.names.length > 0) return '';
  const names = findNamespaceRoot(entry, procPath);
  return names === undefined ? '' : `/${names.join('/')}`;
}

/** How deep our cgroup namespace's root is, as far as /proc shows it; undefined when it does not. */
function namespaceLevel(procPath: string): number | undefined {
  // From outside the host's pid namespace, pid 2 is another process; the real kthreadd has no parent.
  const kthreadd = readProcess(procPath, kthreaddPid);
  if (kthreadd?.comm === 'kthreadd' && kthreadd.parentPid === 0) {
    const membership = parseMembership(readText(`${procPath}/${kthreaddPid}/cgroup`) ?? '');
    if (membership !== undefined) return parseRelativePath(membership.path).ups;
  }
  try {
    return readlinkSync(`${procPath}/self/ns/cgroup`) === initialCgroupNamespace ? 0 : undefined;
  } catch {
    return undefined;
  }
}

function mountLevel(entry: MountEntry, procPath: string): { level: number; levelKnown: boolean } {
  if (identity(entry.mountPoint)?.inode === rootCgroupId) return { level: 0, levelKnown: true };
  const mounted = parseRelativePath(entry.root);
  const above = namespaceLevel(procPath);
  if (above !== undefined) return { level: above - mounted.ups + mounted.names.length, levelKnown: true };
  // It is not the root, so it is at least one level below.
  return { level: Math.max(1, mounted.names.length), levelKnown: false };
}

function absent(mountinfo: string, entries: readonly MountEntry[]): CgroupError {
  const v1 = entries.some((entry) => entry.fsType === 'cgroup');
  return new CgroupError(
    'cgroup2-absent',
    mountinfo,
    `${mountinfo} shows no cgroup2 file system${v1 ? ', only cgroup v1 controllers' : ''}; ` +
      'boot with systemd.unified_cgroup_hierarchy=1, or `mount -t cgroup2 none /sys/fs/cgroup/unified`; ' +
      'in a container, mount the host’s cgroup tree and name it as the cgroup root',
  );
}

/**
 * Finds cgroup2 in our own mount namespace, unified or hybrid.
 * @param procPath a proc(5) mount; its `self` must be this process
 * @param below when given, the hierarchy is the one that this absolute path lies in
 * @throws CgroupError cgroup2-absent, not-cgroup2 (for `below`), proc-unusable
 */
export function findCgroup2(procPath = '/proc', below?: string): CgroupHierarchy {
  const mountinfo = `${procPath}/self/mountinfo`;
  const text = readText(mountinfo);
  if (text === undefined) {
    throw new CgroupError(
      'proc-unusable',
      mountinfo,
      `${mountinfo} is not there; name the directory where proc is mounted`,
    );
  }
  const entries = parseMountinfo(text);
  const visible = cgroup2Mounts(entries).filter((entry) => isCgroup2(entry.mountPoint));
  const entry =
    below === undefined
      ? visible[0]
      : visible
          .filter(
            ({ mountPoint }) => below === mountPoint || below.startsWith(mountPoint === '/' ? '/' : `${mountPoint}/`),
          )
          .sort((a, b) => b.mountPoint.length - a.mountPoint.length)[0];
  if (entry === undefined) throw absent(mountinfo, entries);
  return {
    mountPoint: entry.mountPoint,
    mountRoot: entry.root,
    nsRoot: namespaceRoot(entry, procPath),
    ...mountLevel(entry, procPath),
  };
}

/** The directory of a cgroup that /proc/<pid>/cgroup names, or undefined when the mount does not show it. Pure. */
export function directoryOf(hierarchy: CgroupHierarchy, path: string): string | undefined {
  const nsRoot = hierarchy.nsRoot === '' ? undefined : parseRelativePath(hierarchy.nsRoot).names;
  const names = namesBelow(parseRelativePath(hierarchy.mountRoot), parseRelativePath(path), nsRoot);
  return names === undefined ? undefined : [hierarchy.mountPoint, ...names].join('/');
}
