// Which process events are a reason to look at the node again: a program started in a pod's cgroup that is not enrolled as
// a whole yet, a kubelet started, or events were lost.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { directoryOf, parseCgroupPath, parseMembership } from '@sluice/cgroup-resolver';
import type { NodeView } from '../node/node-view.js';
import type { StreamOverrun } from '../streams/from-observable.js';

/** As much of process-watcher's events as is used here. */
export type WatchedEvent = { readonly kind: string; readonly pid?: number } | StreamOverrun;

export type Hint = 'pod-process' | 'kubelet' | 'overrun';

export class ProcessHints {
  readonly #view: NodeView;
  readonly #procPath: string;
  #settled: ReadonlySet<string> = new Set();

  constructor(view: NodeView, procPath: string) {
    this.#view = view;
    this.#procPath = procPath;
  }

  /** Cgroup directories of which nothing new is to be learnt: what starts in them is in the maps as it should be. */
  settle(directories: ReadonlySet<string>): void {
    this.#settled = directories;
  }

  /** The hints of a batch of events, each kind once. */
  of(events: readonly WatchedEvent[]): ReadonlySet<Hint> {
    const hints = new Set<Hint>();
    const pids = new Set<number>();
    for (const event of events) {
      if (event.kind === 'overrun' || event.kind === 'stream-overrun') hints.add('overrun');
      else if (event.kind === 'exec' && 'pid' in event && event.pid !== undefined) pids.add(event.pid);
    }
    // After a loss everything is looked at anyway.
    if (hints.has('overrun')) return hints;
    for (const pid of pids) {
      const hint = this.#hintOf(pid);
      if (hint !== undefined) hints.add(hint);
    }
    return hints;
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
    if (this.#settled.has(directory)) return undefined;
    const isPod = (parseCgroupPath(directory.slice(root.length)) ?? parseCgroupPath(membership.path)) !== undefined;
    if (isPod) return 'pod-process';
    return kubeletFinder.isKubelet(pid) ? 'kubelet' : undefined;
  }
}
