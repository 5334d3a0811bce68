// Which events of the guard are a reason for a pass: a pod's cgroup has come or gone, a container's has come in a pod that is not fully
// enrolled yet, a listener has to be let go, or events were lost. Paths are those of the machine's hierarchy.
import { parseCgroupPath } from '@sluice/cgroup-resolver';
import type { PodEvent } from '@sluice/datapath';

export type PodHint = 'pod-cgroup' | 'listener' | 'overrun';

export class PodHints {
  #settled: ReadonlySet<string> = new Set();

  /** Sets the pods, by UID in cgroupfs, in which a new container is no reason for a pass. */
  settle(podUids: ReadonlySet<string>): void {
    this.#settled = podUids;
  }

  /** The hints in a batch, each kind once; `seen` hears of each pod whose cgroups come. */
  of(batch: readonly PodEvent[], dropped: number, seen: (podUid: string) => void = () => {}): ReadonlySet<PodHint> {
    const hints = new Set<PodHint>(dropped > 0 ? ['overrun'] : []);
    for (const event of batch) {
      const hint = event.kind === 'listener-late' ? 'listener' : this.#ofCgroup(event.kind, event.path, seen);
      if (hint !== undefined) hints.add(hint);
    }
    return hints;
  }

  #ofCgroup(
    kind: 'cgroup-made' | 'cgroup-removed',
    path: string,
    seen: (podUid: string) => void,
  ): 'pod-cgroup' | undefined {
    const parsed = parseCgroupPath(path);
    if (parsed === undefined) return undefined;
    if (kind === 'cgroup-removed') return parsed.podPath === path ? 'pod-cgroup' : undefined;
    seen(parsed.podUid);
    return this.#settled.has(parsed.podUid) ? undefined : 'pod-cgroup';
  }
}
