// Answers the agent's two questions: which pods are on this node, and to which pod a process belongs.
import { realpathSync } from 'node:fs';
import { dirname } from 'node:path';
import type { SeenProcess } from '@sluice/linux';
import { CgroupError } from './errors.js';
import { directoryOf, findCgroup2, isCgroup2, type CgroupHierarchy } from './hierarchy.js';
import { hostNetnsPath } from './host-netns.js';
import { KnownDirectories } from './known-directories.js';
import { parseMembership, type CgroupMembership } from './membership.js';
import { parseCgroupPath, type ParsedCgroupPath } from './naming.js';
import { NetnsReader, type LendNetns, type NetnsRef } from './netns.js';
import { ageMs, readProcess } from './process.js';
import { gone, type ProcessResolution } from './resolution.js';
import { processesBelow, walkPods, type PodCgroup } from './tree.js';
import { identity, readText } from './vanishing.js';

export interface CgroupResolverOptions {
  /** The directory below which pods are searched; processes elsewhere are the host's. Default: the cgroup2 mount. */
  cgroupRoot?: string;
  /** A mount of proc(5) of the host's pid namespace. Default: /proc */
  procPath?: string;
  /** The file of the host's network namespace. Default: pid 1's, or kthreadd's if we may not look at pid 1. */
  hostNetns?: string;
  /**
   * How long, in milliseconds, a process that is in a pod's cgroup but in the host's network namespace is expected to move into
   * the pod. Default: 5000. Processes with the name of a runtime's stage are waited for whatever their age is.
   */
  settleMs?: number;
}

/** A pod's network namespaces, as its processes show them. */
export interface PodNamespaces {
  /** The one that the runtime made for the pod; undefined while no process of the pod is in it. */
  readonly own: NetnsRef | undefined;
  /** Those that lie inside of the pod, such as a nested container engine's. Only a thorough look finds them all. */
  readonly nested: readonly NetnsRef[];
  /** Why a process of the pod does not show the pod's own, in words. */
  readonly refused?: string;
}

export interface PodNamespacesOptions {
  /** Whether the pod has a user namespace of its own, which may own its network namespace (`hostUsers: false`). Default false. */
  readonly hasOwnUsers?: boolean;
  /** Whether to look at every process, although the pod's own namespace is known. Default false. */
  readonly isThorough?: boolean;
  /** Lends a namespace of the owner of the pods' namespaces, who keeps it open. Without it, each is opened and closed again. */
  readonly lend?: LendNetns;
}

interface Own {
  readonly cookie: bigint;
  readonly key: string;
  /** A pod that is made again under the same UID has another cgroup. */
  readonly cgroupId: bigint;
}

const madeInside =
  'its processes are in a network namespace that was made inside of the pod, by a user namespace of its own; a pod with `hostUsers: false` may have one';

const defaultSettleMs = 5000;
// runc's stages before it runs the container's program: "runc:[0:PARENT]", "runc:[1:CHILD]", "runc:[2:INIT]".
const runtimeStage = /^runc:\[/;

function rootOf(cgroupRoot: string | undefined, procPath: string): { root: string; hierarchy: CgroupHierarchy } {
  if (cgroupRoot === undefined) {
    const hierarchy = findCgroup2(procPath);
    return { root: hierarchy.mountPoint, hierarchy };
  }
  let root: string;
  try {
    root = realpathSync(cgroupRoot);
  } catch (cause) {
    const message = `the cgroup root ${cgroupRoot} cannot be opened; name an existing directory of the cgroup2 tree`;
    throw new CgroupError('no-such-path', cgroupRoot, message, cause);
  }
  if (!isCgroup2(root)) {
    const message =
      `the cgroup root ${cgroupRoot} is not on a cgroup2 file system; name a directory of the cgroup2 tree ` +
      '(/sys/fs/cgroup on a unified machine, /sys/fs/cgroup/unified on a hybrid one)';
    throw new CgroupError('not-cgroup2', cgroupRoot, message);
  }
  return { root, hierarchy: findCgroup2(procPath, root) };
}

/**
 * Everything is read when it is asked for. Two things are remembered: network namespaces while a process holds them, and the
 * names of directories, to look for one that a listing leaves out.
 */
export class CgroupResolver {
  /** The directory that `pods` walks. */
  readonly cgroupRoot: string;
  readonly hierarchy: CgroupHierarchy;
  /** The file of the host's network namespace. */
  readonly hostNetns: string;
  readonly #procPath: string;
  readonly #settleMs: number;
  readonly #level: number;
  // What names in the tree begin with if the root itself is inside a kubepods tree: "/kubepods".
  readonly #named: string;
  readonly #netns: NetnsReader;
  readonly #directories = new KnownDirectories();
  // The namespaces that were found to be the pods' own, by pod UID.
  readonly #own = new Map<string, Own>();

  /** @throws CgroupError when there is no cgroup2, the root is not part of one, or /proc cannot be used */
  constructor(options: CgroupResolverOptions = {}) {
    this.#procPath = options.procPath ?? '/proc';
    this.#settleMs = options.settleMs ?? defaultSettleMs;
    const { root, hierarchy } = rootOf(options.cgroupRoot, this.#procPath);
    this.cgroupRoot = root;
    this.hierarchy = hierarchy;
    const belowMount = root.slice(hierarchy.mountPoint.length);
    this.#level = hierarchy.level + belowMount.split('/').filter((name) => name !== '').length;
    this.#named = kubepodsPart(`${hierarchy.mountRoot}${belowMount}`);
    this.hostNetns = options.hostNetns ?? hostNetnsPath(this.#procPath);
    if (identity(this.hostNetns) === undefined) {
      const message = `the host’s network namespace ${this.hostNetns} is not there; name /proc/1/ns/net of the host`;
      throw new CgroupError('no-such-path', this.hostNetns, message);
    }
    this.#netns = new NetnsReader(this.#procPath, this.hostNetns);
  }

  /** Every pod that the tree has now, in one walk. */
  pods(): PodCgroup[] {
    const walk = this.#directories.walk();
    const pods = [...walkPods(this.cgroupRoot, this.#level, this.#named, walk.list)];
    walk.completed();
    const present = new Set(pods.map(({ podUid }) => podUid));
    for (const podUid of this.#own.keys()) if (!present.has(podUid)) this.#own.delete(podUid);
    return pods;
  }

  /** The cgroup right above the QoS classes (`kubepods`), or the root of the tree if that is below it. */
  podsParent({ cgroupPath, qosClass }: PodCgroup): string {
    const above = dirname(cgroupPath);
    const parent = qosClass === 'guaranteed' ? above : dirname(above);
    return parent.startsWith(`${this.cgroupRoot}/`) ? parent : this.cgroupRoot;
  }

  /** One pod, or undefined when its cgroup does not exist. If two trees claim one UID, it is the pod of the outer tree. */
  pod(podUid: string): PodCgroup | undefined {
    const { list } = this.#directories.walk();
    for (const pod of walkPods(this.cgroupRoot, this.#level, this.#named, list)) if (pod.podUid === podUid) return pod;
    return undefined;
  }

  /**
   * Says whose a process is. Never throws for a process that ends, moves or is replaced under its pid meanwhile.
   * @throws CgroupError permission-denied when the process may not be looked at
   */
  resolveProcess(pid: number): ProcessResolution {
    const process = readProcess(this.#procPath, pid);
    const membership = this.#membership(pid);
    if (process === undefined || membership === undefined || membership.removed) return gone;
    const answer = this.#resolve(pid, process, membership);
    // Everything above was read one after the other: it counts only if all of it was about one process in one place.
    if (readProcess(this.#procPath, pid)?.startTime !== process.startTime) return gone;
    if (this.#membership(pid)?.path !== membership.path) return { kind: 'retry', reason: 'it moved to another cgroup' };
    return answer;
  }

  /**
   * The pod's network namespaces. Its own is that of its oldest process, which the runtime has started in it (the sandbox's), provided
   * that the host's user namespace owns it, or the pod's: so a process that moves to a namespace that it made itself does not take the
   * pod with it. Once found, it stays the pod's own while a process of the pod is in it.
   * @throws CgroupError permission-denied when no process of the pod may be looked at
   */
  podNamespaces(pod: PodCgroup, options: PodNamespacesOptions = {}): PodNamespaces {
    const known = this.#known(pod);
    if (known !== undefined && options.isThorough !== true) return { own: known, nested: [] };
    const { refs, denied } = this.#namespacesOf(pod, options.lend);
    const before = this.#own.get(pod.podUid);
    const own =
      refs.find(
        ({ ref, key }) => before?.cgroupId === pod.cgroupId && before.key === key && before.cookie === ref.cookie,
      ) ?? refs.find(({ ref }) => ref.owner === 'host' || (options.hasOwnUsers === true && ref.owner === 'below-host'));
    if (own === undefined) {
      if (refs.length === 0 && denied !== undefined) throw denied;
      const nested = refs.map(({ ref }) => ref);
      return nested.length === 0 ? { own: undefined, nested } : { own: undefined, nested, refused: madeInside };
    }
    this.#own.set(pod.podUid, { cookie: own.ref.cookie, key: own.key, cgroupId: pod.cgroupId });
    return { own: own.ref, nested: refs.filter((one) => one !== own).map(({ ref }) => ref) };
  }

  /** The pod's own network namespace; see {@link podNamespaces}. */
  podNetns(pod: PodCgroup, options: Omit<PodNamespacesOptions, 'isThorough'> = {}): NetnsRef | undefined {
    return this.podNamespaces(pod, options).own;
  }

  /** The pod's own namespace, while the process that showed it last is in it and in the pod. */
  #known(pod: PodCgroup): NetnsRef | undefined {
    const own = this.#own.get(pod.podUid);
    if (own?.cgroupId !== pod.cgroupId) return undefined;
    const known = this.#netns.recall(own.key);
    return known?.cookie === own.cookie && this.#isBelow(known.pid, pod.cgroupPath) ? known : undefined;
  }

  /** Every namespace but the host's in which the pod has a process, in the order of its oldest process there. */
  #namespacesOf(
    pod: PodCgroup,
    lend: LendNetns | undefined,
  ): { readonly refs: readonly { readonly key: string; readonly ref: NetnsRef }[]; readonly denied?: CgroupError } {
    const refs: { key: string; ref: NetnsRef }[] = [];
    const seen = new Set([this.#netns.keyOf(this.hostNetns)]);
    let denied: CgroupError | undefined;
    for (const pid of this.#oldestFirst(pod.cgroupPath)) {
      try {
        const key = this.#netns.key(pid);
        if (key === undefined || seen.has(key)) continue;
        const ref = this.#netns.recall(key) ?? this.#netns.read(pid, key, lend);
        if (ref === undefined || !this.#isBelow(pid, pod.cgroupPath)) continue;
        seen.add(key);
        refs.push({ key, ref });
      } catch (error) {
        if (!(error instanceof CgroupError)) throw error;
        denied = error;
      }
    }
    return denied === undefined ? { refs } : { refs, denied };
  }

  #resolve(pid: number, process: SeenProcess, membership: CgroupMembership): ProcessResolution {
    const directory = directoryOf(this.hierarchy, membership.path);
    if (directory === undefined) return { kind: 'host', cgroupPath: membership.path, cgroupId: 0n };
    const cgroupId = identity(directory)?.inode;
    if (cgroupId === undefined) return { kind: 'retry', reason: 'its cgroup was removed' };
    const found = this.#parse(directory);
    if (found === undefined) return { kind: 'host', cgroupPath: directory, cgroupId };

    const podCgroupPath = this.#absolute(found.podPath);
    const key = this.#netns.key(pid);
    const isHost = key !== undefined && key === this.#netns.keyOf(this.hostNetns);
    if (isHost && !this.#isSettled(process, podCgroupPath)) {
      return {
        kind: 'retry',
        reason: `${process.comm} is in a pod’s cgroup, but still in the host’s network namespace`,
      };
    }
    const netns =
      key === undefined || isHost ? undefined : (this.#recallWithAddress(key) ?? this.#netns.read(pid, key));
    if (key !== undefined && !isHost && netns === undefined) {
      return { kind: 'retry', reason: 'it moved to another network namespace' };
    }
    const isVerified = netns !== undefined && netns.cookie === this.#own.get(found.podUid)?.cookie;
    return {
      kind: 'pod',
      podUid: found.podUid,
      qosClass: found.qosClass,
      ...(found.containerId === undefined ? {} : { containerId: found.containerId }),
      cgroupPath: directory,
      cgroupId,
      podCgroupPath,
      netns,
      netnsState: isHost ? 'host' : isVerified ? 'pod' : 'unverified',
    };
  }

  // The network plugin has not finished a namespace without addresses.
  #recallWithAddress(key: string): NetnsRef | undefined {
    const known = this.#netns.recall(key);
    return known !== undefined && known.addresses.length > 0 ? known : undefined;
  }

  /** Whether a process in the host's namespace will stay there: that of a pod with hostNetwork, or a monitor. */
  #isSettled(process: SeenProcess, podCgroupPath: string): boolean {
    if (runtimeStage.test(process.comm)) return false;
    if (ageMs(this.#procPath, process) >= this.#settleMs) return true;
    // The pod has been in the host's namespace for long, so its young child stays there, too.
    const oldest = this.#oldestFirst(podCgroupPath)[0];
    const facts = oldest === undefined ? undefined : readProcess(this.#procPath, oldest);
    if (oldest === undefined || facts === undefined || runtimeStage.test(facts.comm)) return false;
    const isOld = ageMs(this.#procPath, facts) >= this.#settleMs;
    return isOld && this.#netns.key(oldest) === this.#netns.keyOf(this.hostNetns);
  }

  #oldestFirst(directory: string): number[] {
    const processes = processesBelow(directory, this.#directories.walk().list).flatMap((pid) => {
      const facts = readProcess(this.#procPath, pid);
      return facts === undefined ? [] : [{ pid, startTime: facts.startTime }];
    });
    processes.sort((a, b) => (a.startTime === b.startTime ? a.pid - b.pid : a.startTime < b.startTime ? -1 : 1));
    return processes.map(({ pid }) => pid);
  }

  #isBelow(pid: number, directory: string): boolean {
    const membership = this.#membership(pid);
    const own = membership === undefined ? undefined : directoryOf(this.hierarchy, membership.path);
    return own === directory || own?.startsWith(`${directory}/`) === true;
  }

  #membership(pid: number): CgroupMembership | undefined {
    const path = `${this.#procPath}/${pid}/cgroup`;
    const text = readText(path);
    // The file of a process that is being reaped is empty; without cgroup2 no process has such a line.
    return text === undefined ? undefined : parseMembership(text);
  }

  #parse(directory: string): ParsedCgroupPath | undefined {
    if (directory !== this.cgroupRoot && !directory.startsWith(`${this.cgroupRoot}/`)) return undefined;
    return parseCgroupPath(this.#named + directory.slice(this.cgroupRoot.length));
  }

  #absolute(podPath: string): string {
    return this.cgroupRoot + podPath.slice(this.#named.length);
  }
}

/** The part of a path from the last kubepods directory on; '' when it is not inside one, or is inside a pod already. Pure. */
function kubepodsPart(path: string): string {
  if (parseCgroupPath(path) !== undefined) return '';
  const names = path.split('/');
  const at = names.findLastIndex((name) => /^kubepods$|^(?:.+-)?kubepods\.slice$/.test(name));
  return at < 0 ? '' : `/${names.slice(at).join('/')}`;
}
