// The set of processes that live, kept up to date by events and corrected by scans of /proc. It uses no clock and no files. The
// property test shows what it guarantees under any interleaving.
import type { TicksOf } from './clock.js';
import type {
  Process,
  ProcessChange,
  ProcessEvent,
  ProcessExecEvent,
  ProcessExitEvent,
  ProcessForkEvent,
} from './process-event.js';
import type { SeenProcess } from '@sluice/linux';

/** Looks up one process in /proc now; undefined when it does not live. */
export type Look = (pid: number) => SeenProcess | undefined;

/** A process starts a moment before its fork event is stamped, and a tick may pass in between. */
const TICK_ROUNDING = 1n;

interface Entry {
  readonly process: Process;
  /** False when startTime is only the tick of the fork event. */
  readonly exact: boolean;
  image: string | undefined;
}

/**
 * Events arrive later than they happened, so a scan may already show what a waiting event will report, or what an applied event
 * has undone. Two rules settle every such case:
 *
 * - while a scan runs, the events decide about a pid that a fork or exit event names, and what the scan says about it is
 *   ignored: the last event of a pid is always right in the end;
 * - an event older than the start of the process that is known under its pid is about an earlier process, and is ignored.
 */
/** A change that concerns one process. */
type OfProcess = Extract<ProcessChange, { process: Process }>;

export class LiveSet {
  readonly #look: Look;
  readonly #ticksOf: TicksOf;
  readonly #entries = new Map<number, Entry>();
  #touched: Set<number> | undefined;
  #stale = false;

  constructor(look: Look, ticksOf: TicksOf) {
    this.#look = look;
    this.#ticksOf = ticksOf;
  }

  get size(): number {
    return this.#entries.size;
  }

  apply(event: ProcessEvent): ProcessChange[] {
    switch (event.kind) {
      case 'fork':
        return this.#fork(event);
      case 'exec':
        return this.#exec(event);
      case 'exit':
        return this.#exit(event);
      case 'overrun':
        this.#stale = true;
        return [{ kind: 'overrun', lost: event.lost, cause: event.cause }];
    }
  }

  /** Call this before the first look at /proc. */
  beginScan(): void {
    this.#touched = new Set();
    this.#stale = false;
  }

  /**
   * Takes what a scan saw. Returns `undefined` if something was lost meanwhile, so that the scan proves nothing: scan again.
   */
  endScan(seen: Iterable<SeenProcess>): ProcessChange[] | undefined {
    const touched = this.#touched ?? new Set();
    this.#touched = undefined;
    if (this.#stale) return undefined;
    const changes: ProcessChange[] = [];
    const present = new Set<number>();
    for (const process of seen) {
      present.add(process.pid);
      if (!touched.has(process.pid)) changes.push(...this.#reconcile(process));
    }
    for (const pid of this.#entries.keys()) {
      if (!present.has(pid) && !touched.has(pid)) changes.push(...this.#remove(pid, true));
    }
    changes.push({ kind: 'synced' });
    return changes;
  }

  #fork({ pid, parentPid, timestampNs }: ProcessForkEvent): ProcessChange[] {
    const forkTick = this.#ticksOf(timestampNs);
    const known = this.#entries.get(pid);
    if (known !== undefined && known.process.startTime > forkTick) return [];
    this.#touched?.add(pid);
    const now = this.#look(pid);
    // A process that started after the event is a later one: its own fork event is still to come.
    const seen = now !== undefined && now.startTime <= forkTick ? now : undefined;
    if (known !== undefined) {
      // A scan saw the process before its event came, or the event that ended its predecessor was lost.
      const same = seen === undefined ? forkTick - known.process.startTime <= TICK_ROUNDING : isSame(known, seen);
      if (same) return [];
    }
    return [
      ...this.#remove(pid, true),
      this.#add({ pid, parentPid, startTime: seen?.startTime ?? forkTick }, seen?.image, false),
    ];
  }

  #exec({ pid, timestampNs }: ProcessExecEvent): ProcessChange[] {
    const known = this.#entries.get(pid);
    const now = this.#look(pid);
    if (known === undefined) {
      // No event has named it and no scan has seen it. If it has ended since, its exit event would only remove it again.
      if (now === undefined || now.startTime > this.#ticksOf(timestampNs)) return [];
      this.#touched?.add(pid);
      const started = this.#add(now, now.image, true);
      return [started, { kind: 'exec', process: started.process, synthetic: false }];
    }
    if (known.process.startTime > this.#ticksOf(timestampNs)) return [];
    if (now !== undefined && isSame(known, now)) known.image = now.image;
    return [{ kind: 'exec', process: known.process, synthetic: false }];
  }

  #exit({ pid, timestampNs }: ProcessExitEvent): ProcessChange[] {
    const known = this.#entries.get(pid);
    if (known !== undefined && known.process.startTime > this.#ticksOf(timestampNs)) return [];
    this.#touched?.add(pid);
    return this.#remove(pid, false);
  }

  #reconcile(seen: SeenProcess): ProcessChange[] {
    const known = this.#entries.get(seen.pid);
    if (known === undefined) return [this.#add(seen, seen.image, true)];
    if (!isSame(known, seen)) return [...this.#remove(seen.pid, true), this.#add(seen, seen.image, true)];
    const execed = known.image !== undefined && known.image !== seen.image;
    known.image = seen.image;
    return execed ? [{ kind: 'exec', process: known.process, synthetic: true }] : [];
  }

  #add({ pid, startTime, parentPid }: Process, image: string | undefined, synthetic: boolean): OfProcess {
    const process: Process = { pid, startTime, parentPid };
    this.#entries.set(pid, { process, exact: image !== undefined, image });
    return { kind: 'started', process, synthetic };
  }

  #remove(pid: number, synthetic: boolean): ProcessChange[] {
    const known = this.#entries.get(pid);
    if (known === undefined) return [];
    this.#entries.delete(pid);
    return [{ kind: 'exited', process: known.process, synthetic }];
  }
}

/** The tick of a fork event is the start time or a little more; a process that starts after it is another one. */
function isSame(known: Entry, seen: SeenProcess): boolean {
  return known.exact ? known.process.startTime === seen.startTime : seen.startTime <= known.process.startTime;
}
