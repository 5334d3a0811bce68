// Which process events are a reason for a pass: a program started in the cgroup of a pod that is not fully enrolled yet,
// a kubelet started, or events were lost.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { directoryOf, parseCgroupPath, parseMembership } from '@sluice/cgroup-resolver';
import type { NodeView } from '../node/node-view.js';
import type { StreamOverrun } from '../streams/from-observable.js';

/** The parts of process-watcher's events that are used here. */
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

  /** Sets the cgroup directories in which a new process is no reason for a pass, because their entries are right. */
  settle(directories: ReadonlySet<string>): void {
    this.#settled = directories;
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
