// Finds the kubelet's cgroup, by which its probes are told from other traffic of the host. A kubelet is a process with a
// kubelet's name, in the host's network namespace, outside every pod, so a pod cannot pose as one.
import { readdirSync, readFileSync, readlinkSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { CgroupResolver } from '@sluice/cgroup-resolver';
import type { KubeletCgroup } from '../enrolment/enrolment.js';

export interface KubeletSearch {
  readonly kubelets: readonly KubeletCgroup[];
  readonly problems: readonly string[];
}

export interface KubeletOptions {
  readonly procPath: string;
  readonly names: readonly string[];
  readonly cgroup: string | undefined;
}

/** The depth of a directory below the hierarchy's root: that of the mounted directory, plus one for each name below it. */
export function levelOf(resolver: CgroupResolver, directory: string): number {
  const { mountPoint, level } = resolver.hierarchy;
  return (
    level +
    directory
      .slice(mountPoint.length)
      .split('/')
      .filter((name) => name !== '').length
  );
}

const ROOT_UID = 0;

function read<T>(get: () => T): T | undefined {
  try {
    return get();
  } catch {
    // The process has ended, or may not be looked at.
    return undefined;
  }
}

export class KubeletFinder {
  readonly #resolver: CgroupResolver;
  readonly #options: KubeletOptions;
  /** Undefined before the first search. */
  #pids: readonly number[] | undefined;

  constructor(resolver: CgroupResolver, options: KubeletOptions) {
    this.#resolver = resolver;
    this.#options = options;
  }

  /**
   * @param isThorough looks at every process, as is done anyway when one that was found before has ended. Where none was found, none is looked
   * for: its start is a hint, after which a pass is thorough.
   */
  find(isThorough: boolean): KubeletSearch {
    const { cgroup } = this.#options;
    if (cgroup !== undefined) return this.#configured(cgroup);
    const before = isThorough ? undefined : this.#pids;
    const known = before?.filter((pid) => this.isKubelet(pid));
    const isEnough = known !== undefined && (known.length > 0 || before?.length === 0);
    const pids = isEnough ? known : this.#scan();
    this.#pids = pids;
    const found = new Map<bigint, KubeletCgroup>();
    const problems: string[] = [];
    for (const pid of pids) {
      const place = this.#resolver.resolveProcess(pid);
      if (place.kind !== 'host' || place.cgroupId === 0n || !this.#isBelowRoot(place.cgroupPath)) continue;
      if (place.cgroupPath === this.#resolver.cgroupRoot) {
        problems.push(
          `the kubelet (pid ${pid}) is in the cgroup ${place.cgroupPath} with the rest of the host, so that its probes cannot be told from other connections; start it in a cgroup of its own (as a systemd service)`,
        );
        continue;
      }
      const level = levelOf(this.#resolver, place.cgroupPath);
      found.set(place.cgroupId, { cgroupPath: place.cgroupPath, cgroupId: place.cgroupId, level });
    }
    return { kubelets: [...found.values()], problems };
  }

  /** Whether a process belongs to root, has a kubelet's name and the host's network. Does not check whether it is in a pod. */
  isKubelet(pid: number): boolean {
    const { procPath, names } = this.#options;
    const comm = read(() => readFileSync(join(procPath, String(pid), 'comm'), 'utf8').trim());
    if (comm === undefined || !names.includes(comm)) return false;
    if (read(() => statSync(join(procPath, String(pid))).uid) !== ROOT_UID) return false;
    const own = read(() => statSync(join(procPath, String(pid), 'ns/net'), { bigint: true }).ino);
    return own !== undefined && own === read(() => statSync(this.#resolver.hostNetns, { bigint: true }).ino);
  }

  #scan(): number[] {
    const names = read(() => readdirSync(this.#options.procPath)) ?? [];
    // A kernel thread has no executable, and may have any name.
    return names
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
      .filter(
        (pid) =>
          this.isKubelet(pid) &&
          read(() => readlinkSync(join(this.#options.procPath, String(pid), 'exe'))) !== undefined,
      );
  }

  #isBelowRoot(path: string): boolean {
    const root = this.#resolver.cgroupRoot;
    return path === root || path.startsWith(`${root}/`);
  }

  #configured(cgroup: string): KubeletSearch {
    const remedy = 'correct `kubelet.cgroup`, or leave it out, and the agent searches for it';
    const cgroupPath = read(() => realpathSync(cgroup));
    const cgroupId = cgroupPath === undefined ? undefined : read(() => statSync(cgroupPath, { bigint: true }).ino);
    if (cgroupPath === undefined || cgroupId === undefined)
      return { kubelets: [], problems: [`the kubelet's cgroup ${cgroup} does not exist; ${remedy}`] };
    // The inode number of any other directory could be another cgroup's id, and the root has processes of everybody.
    if (!cgroupPath.startsWith(`${this.#resolver.cgroupRoot}/`)) {
      const problem = `the kubelet's cgroup ${cgroup} is not a cgroup below ${this.#resolver.cgroupRoot}; ${remedy}`;
      return { kubelets: [], problems: [problem] };
    }
    return { kubelets: [{ cgroupPath, cgroupId, level: levelOf(this.#resolver, cgroupPath) }], problems: [] };
  }
}
