// Turns events of threads into events of processes. A process has ended when its last thread has, and the kernel does not say
// which one is the last. So what is known about a process's threads is remembered, and /proc is asked if that is not enough.
import type { ExitEvent, ForkEvent, ProcEvent } from '@sluice/netlink-proc-connector';
import type { ProcessEvent } from './process-event.js';
import type { ThreadGroupState } from './thread-group-state.js';

/** Asks /proc about a process of which a thread ended at timestampNs. If a later process has its pid, it counts as gone. */
export type Inspect = (pid: number, timestampNs: bigint) => ThreadGroupState;

/** `single`: seen from its fork on, and never a second thread. */
type Knowledge = 'single' | 'threaded' | 'leaderless';

/** How many ended processes are remembered, for exit events of their threads that come late. */
const REMEMBERED_ENDS = 4096;

export class ThreadGroups {
  readonly #inspect: Inspect;
  readonly #known = new Map<number, Knowledge>();
  readonly #ended = new Set<number>();

  constructor(inspect: Inspect) {
    this.#inspect = inspect;
  }

  /** The event of a process that this event of a thread amounts to, if there is one. */
  next(event: ProcEvent): ProcessEvent | undefined {
    switch (event.kind) {
      case 'fork':
        return this.#fork(event);
      case 'exec':
        // Before it reports, the kernel gives the thread that called exec the pid of its process.
        return { kind: 'exec', timestampNs: event.timestampNs, pid: event.tgid };
      case 'exit':
        return this.#exit(event);
      case 'overrun':
        // Forks may be among the lost events: no process is known to be single any more, and ended pids may live again.
        this.#known.clear();
        this.#ended.clear();
        return { kind: 'overrun', timestampNs: event.timestampNs, lost: event.lost, cause: event.cause };
      default:
        return undefined;
    }
  }

  #fork({ pid, tgid, parentTgid, timestampNs }: ForkEvent): ProcessEvent | undefined {
    if (pid !== tgid) {
      if (this.#known.get(tgid) !== 'leaderless') this.#known.set(tgid, 'threaded');
      return undefined;
    }
    this.#ended.delete(pid);
    this.#known.set(pid, 'single');
    return { kind: 'fork', timestampNs, pid, parentPid: parentTgid };
  }

  #exit(event: ExitEvent): ProcessEvent | undefined {
    const { pid, tgid } = event;
    const known = this.#known.get(tgid);
    if (pid === tgid) return known === 'single' ? this.#end(event) : this.#ask(event);
    // A thread that is not the first ends the process only if the first one has ended before.
    if (known === 'leaderless') return this.#ask(event);
    if (known !== undefined || this.#ended.has(tgid)) return undefined;
    const end = this.#ask(event);
    if (end === undefined && !this.#known.has(tgid)) this.#known.set(tgid, 'threaded');
    return end;
  }

  #ask(event: ExitEvent): ProcessEvent | undefined {
    const state = this.#inspect(event.tgid, event.timestampNs);
    if (state === 'gone') return this.#end(event);
    if (state === 'leaderless') this.#known.set(event.tgid, 'leaderless');
    // It runs although its first thread has ended: another thread has called exec and is the first one now.
    return undefined;
  }

  #end({ tgid, exitCode, timestampNs }: ExitEvent): ProcessEvent | undefined {
    this.#known.delete(tgid);
    if (this.#ended.has(tgid)) return undefined;
    this.#ended.add(tgid);
    if (this.#ended.size > REMEMBERED_ENDS) {
      for (const oldest of this.#ended) {
        this.#ended.delete(oldest);
        break;
      }
    }
    return { kind: 'exit', timestampNs, pid: tgid, exitCode };
  }
}
