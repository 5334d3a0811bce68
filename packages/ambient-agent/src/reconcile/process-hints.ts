// Which process events are a reason for a pass: a program started in the cgroup of a pod that is not fully enrolled yet, or in a network
// namespace that is not known of its pod, a kubelet started, or events were lost.
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { directoryOf, parseCgroupPath, parseMembership } from '@sluice/cgroup-resolver';
import type { NodeView } from '../node/node-view.js';
import type { StreamOverrun } from '../streams/from-observable.js';

/** The parts of process-watcher's events that are used here. */
export type WatchedEvent = { readonly kind: string; readonly pid?: number } | StreamOverrun;

/** `pod-start`: of a pod that is not enrolled yet, and urgent. */
export type Hint = 'pod-start' | 'pod-process' | 'kubelet' | 'overrun';

/** A pod that is enrolled as far as it can be. */
export interface SettledPod {
  readonly podUid: string;
  /** Inodes of the network namespaces in which its processes may start; undefined if it does not matter where they do. */
  readonly netns: ReadonlySet<bigint> | undefined;
}

/** How long a pod is not looked at again for a namespace that is not known of it, in milliseconds: it can make any number of them. */
const SUSPECTED_AGAIN_MS = 1000;

/**
 * As many programs that the runtime starts in a new pod's cgroups are urgent: its own and the sandbox's, twice if they have to be started again.
 * Those that a pod starts itself, without end, are not.
 */
const URGENT_STARTS = 4;

export class ProcessHints {
  readonly #view: NodeView;
  readonly #procPath: string;
  #settled: ReadonlyMap<string, SettledPod> = new Map();
  /** How many programs have started in pods that are not settled. */
  readonly #starts = new Map<string, number>();
  readonly #suspectedAtMs = new Map<string, number>();
  /** When the pods that were not looked at again have their turn, the last time that there were any. */
  #laterMs = -Infinity;
  #isLaterSaid = true;

  readonly #seen: (podUid: string) => void;

  /** `seen` hears of each pod, by its UID in cgroupfs, in which a program has started. */
  constructor(view: NodeView, procPath: string, seen: (podUid: string) => void = () => {}) {
    this.#view = view;
    this.#procPath = procPath;
    this.#seen = seen;
  }

  /** Sets the cgroup directories in which a new process is no reason for a pass, because their entries are right. */
  settle(directories: ReadonlyMap<string, SettledPod>): void {
    this.#settled = directories;
    const uids = new Set([...directories.values()].map(({ podUid }) => podUid));
    for (const uid of this.#suspectedAtMs.keys()) if (!uids.has(uid)) this.#suspectedAtMs.delete(uid);
  }

  /** The pods, by UID in cgroupfs, that there are: the others are forgotten. */
  keep(podUids: ReadonlySet<string>): void {
    for (const uid of this.#starts.keys()) if (!podUids.has(uid)) this.#starts.delete(uid);
  }

  /** The hints in a batch of events, each kind once. */
  of(events: readonly WatchedEvent[]): ReadonlySet<Hint> {
    const hints = new Set<Hint>();
    const pids = new Set<number>();
    for (const event of events) {
      if (event.kind === 'overrun' || event.kind === 'stream-overrun') hints.add('overrun');
      else if (event.kind === 'exec' && 'pid' in event && event.pid !== undefined) pids.add(event.pid);
    }
    // After a loss, a pass looks at everything anyway.
    if (hints.has('overrun')) return hints;
    for (const pid of pids) {
      const hint = this.#hintOf(pid);
      if (hint !== undefined) hints.add(hint);
    }
    return hints;
  }

  /**
   * In how many milliseconds the hint `pod-process` is due for a namespace that it was too early to look for; undefined if there is none.
   * Said once.
   */
  takeLaterMs(): number | undefined {
    if (this.#isLaterSaid) return undefined;
    this.#isLaterSaid = true;
    return Math.max(0, this.#laterMs - performance.now());
  }

  #hintOf(pid: number): Hint | undefined {
    let text: string;
    try {
      text = readFileSync(join(this.#procPath, String(pid), 'cgroup'), 'utf8');
    } catch {
      return undefined;
    }
    const membership = parseMembership(text);
    if (membership === undefined) return undefined;
    const { resolver, kubeletFinder } = this.#view;
    const directory = directoryOf(resolver.hierarchy, membership.path);
    const root = resolver.cgroupRoot;
    if (directory === undefined || (directory !== root && !directory.startsWith(`${root}/`))) return undefined;
    const settled = this.#settled.get(directory);
    const parsed = parseCgroupPath(directory.slice(root.length)) ?? parseCgroupPath(membership.path);
    if (parsed !== undefined) this.#seen(parsed.podUid);
    if (settled !== undefined) return this.#isElsewhere(pid, settled) ? 'pod-process' : undefined;
    if (parsed !== undefined) return this.#isUrgent(parsed.podUid) ? 'pod-start' : 'pod-process';
    return kubeletFinder.isKubelet(pid) ? 'kubelet' : undefined;
  }

  #isUrgent(podUid: string): boolean {
    const starts = (this.#starts.get(podUid) ?? 0) + 1;
    this.#starts.set(podUid, starts);
    return starts <= URGENT_STARTS;
  }

  /** Whether a process of the pod has started in a network namespace that is not known of the pod, so that a look is due. */
  #isElsewhere(pid: number, { podUid, netns }: SettledPod): boolean {
    if (netns === undefined) return false;
    const inode = statSync(join(this.#procPath, String(pid), 'ns/net'), { bigint: true, throwIfNoEntry: false })?.ino;
    if (inode === undefined || netns.has(inode)) return false;
    this.#view.suspect(podUid);
    const nowMs = performance.now();
    const nextMs = (this.#suspectedAtMs.get(podUid) ?? -Infinity) + SUSPECTED_AGAIN_MS;
    if (nowMs < nextMs) {
      if (nextMs > this.#laterMs) {
        this.#laterMs = nextMs;
        this.#isLaterSaid = false;
      }
      return false;
    }
    this.#suspectedAtMs.set(podUid, nowMs);
    return true;
  }
}
