// Walks a cgroup tree for pods. Directories that vanish during the walk are left out; nothing is read twice.
import type { ListDirectories } from './known-directories.js';
import { parseCgroupPath, parseContainerName, type QosClass, type Runtime } from './naming.js';
import { identity, readText, subdirectories } from './vanishing.js';

export interface ContainerRef {
  /** 64 hexadecimal digits. A pod's sandbox ("pause") is named like any other container. */
  id: string;
  /** From the directory's name; 'unknown' for the cgroupfs driver, for which containerd and docker use the same names. */
  runtime: Runtime;
  /** Absolute path of the directory. */
  cgroupPath: string;
  /** What bpf_get_current_cgroup_id() returns inside: the inode of the directory. */
  cgroupId: bigint;
  /** Depth below the hierarchy's root: the level at which bpf_get_current_ancestor_cgroup_id() gives `cgroupId`. */
  level: number;
}

export interface PodCgroup {
  /** As in the API; for a static pod the hash of its manifest (annotation kubernetes.io/config.hash). */
  podUid: string;
  qosClass: QosClass;
  /** Absolute path of the pod-level directory, its id, and its level (see ContainerRef). */
  cgroupPath: string;
  cgroupId: bigint;
  level: number;
  containers: ContainerRef[];
  /** Every other cgroup in the pod: CRI-O's monitors, and those that a container made below its own. */
  otherCgroups: { cgroupPath: string; cgroupId: bigint }[];
}

function readPod(
  directory: string,
  found: { podUid: string; qosClass: QosClass },
  level: number,
  list: ListDirectories,
): PodCgroup | undefined {
  const own = identity(directory);
  if (own === undefined) return undefined;
  const pod: PodCgroup = {
    podUid: found.podUid,
    qosClass: found.qosClass,
    cgroupPath: directory,
    cgroupId: own.inode,
    level,
    containers: [],
    otherCgroups: [],
  };
  const visit = (parent: string, depth: number): void => {
    for (const name of list(parent) ?? []) {
      const cgroupPath = `${parent}/${name}`;
      const found = identity(cgroupPath);
      if (found === undefined) continue;
      const cgroupId = found.inode;
      const container = depth === 1 ? parseContainerName(name) : undefined;
      if (container === undefined) pod.otherCgroups.push({ cgroupPath, cgroupId });
      else pod.containers.push({ ...container, cgroupPath, cgroupId, level: level + depth });
      if (!found.isLeaf) visit(cgroupPath, depth + 1);
    }
  };
  if (!own.isLeaf) visit(directory, 1);
  return pod;
}

/**
 * Every pod below a directory, the outer ones first. Everything inside a pod belongs to it, whatever its name is.
 * @param root a directory of a cgroup tree, without a trailing slash
 * @param level its depth below the hierarchy's root
 * @param named the part of its path that names begin with: '' unless it is inside a kubepods tree itself
 * @param list how a directory is listed; the default lists what the kernel lists, even twice or not at all
 */
export function* walkPods(
  root: string,
  level: number,
  named = '',
  list: ListDirectories = subdirectories,
): Generator<PodCgroup, void, undefined> {
  let row: string[] = [''];
  for (let depth = level + 1; row.length > 0; depth++) {
    const next: string[] = [];
    for (const parent of row) {
      for (const name of list(root + parent) ?? []) {
        const below = `${parent}/${name}`;
        const found = name.includes('pod') ? parseCgroupPath(named + below) : undefined;
        if (found === undefined) {
          next.push(below);
          continue;
        }
        const pod = readPod(root + below, found, depth, list);
        if (pod !== undefined) yield pod;
      }
    }
    row = next;
  }
}

/** The pids in a cgroup and in all cgroups below it. A process of another pid namespace shows as 0 and is left out. */
export function processesBelow(directory: string, list: ListDirectories = subdirectories): number[] {
  const own = (readText(`${directory}/cgroup.procs`) ?? '').split('\n').map(Number);
  const below = (list(directory) ?? []).flatMap((name) => processesBelow(`${directory}/${name}`, list));
  return [...own.filter((pid) => pid > 0), ...below];
}
