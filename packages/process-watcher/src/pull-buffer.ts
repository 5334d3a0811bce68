// Bounded buffers between a stream that pushes and a consumer that pulls: when one is full it forgets, and says so.
import type { Process, ProcessChange, ProcessEvent } from './process-event.js';

/** What `pull` needs of a buffer. */
export interface PullBuffer<T> {
  push(item: T): void;
  /** The next item, or undefined when there is none. */
  take(): T | undefined;
}

/** Events: what does not fit is dropped until the consumer has caught up, and stands there as one overrun. */
export class EventBuffer implements PullBuffer<ProcessEvent> {
  readonly #size: number;
  readonly #queue = new Queue<ProcessEvent>();
  #lost = 0;
  #lastNs = 0n;

  constructor(size: number) {
    this.#size = size;
  }

  push(event: ProcessEvent): void {
    if (this.#lost === 0 && this.#queue.length < this.#size) {
      this.#queue.push(event);
      return;
    }
    this.#lost += 1;
    this.#lastNs = event.timestampNs;
  }

  take(): ProcessEvent | undefined {
    const event = this.#queue.shift();
    if (event !== undefined || this.#lost === 0) return event;
    const lost = this.#lost;
    this.#lost = 0;
    return { kind: 'overrun', timestampNs: this.#lastNs, lost, cause: 'consumer' };
  }
}

/**
 * Changes: when they do not fit, all of them are forgotten, and what the consumer is given instead is the difference
 * between the set it knows and the set there is, computed when it asks. So the memory needed is that of the two sets.
 */
export class ChangeBuffer implements PullBuffer<ProcessChange> {
  readonly #size: number;
  readonly #queue = new Queue<ProcessChange>();
  /** What the stream has said. */
  readonly #live = new Map<number, Process>();
  /** What the consumer has been given. */
  readonly #given = new Map<number, Process>();
  readonly #execed = new Set<number>();
  #forgotten = 0;
  #synced = false;

  constructor(size: number) {
    this.#size = size;
  }

  push(change: ProcessChange): void {
    this.#synced = change.kind === 'synced' || (this.#synced && change.kind !== 'overrun');
    record(this.#live, change);
    if (this.#forgotten === 0 && this.#queue.length < this.#size) {
      this.#queue.push(change);
      return;
    }
    for (let waiting = this.#queue.shift(); waiting !== undefined; waiting = this.#queue.shift()) this.#forget(waiting);
    this.#forget(change);
  }

  take(): ProcessChange | undefined {
    if (this.#forgotten > 0) this.#queueDifference();
    const change = this.#queue.shift();
    if (change !== undefined) record(this.#given, change);
    return change;
  }

  #forget(change: ProcessChange): void {
    this.#forgotten += 1;
    if (change.kind === 'exec') this.#execed.add(change.process.pid);
    if (change.kind === 'exited') this.#execed.delete(change.process.pid);
  }

  #queueDifference(): void {
    this.#queue.push({ kind: 'overrun', lost: this.#forgotten, cause: 'consumer' });
    for (const [pid, process] of this.#given) {
      if (this.#live.get(pid) !== process) this.#queue.push({ kind: 'exited', process, synthetic: true });
    }
    for (const [pid, process] of this.#live) {
      const known = this.#given.get(pid) === process;
      if (!known) this.#queue.push({ kind: 'started', process, synthetic: true });
      else if (this.#execed.has(pid)) this.#queue.push({ kind: 'exec', process, synthetic: true });
    }
    // If the stream itself is in the middle of a resync, its own `synced` is still to come.
    if (this.#synced) this.#queue.push({ kind: 'synced' });
    this.#forgotten = 0;
    this.#execed.clear();
  }
}

function record(set: Map<number, Process>, change: ProcessChange): void {
  if (change.kind === 'started') set.set(change.process.pid, change.process);
  else if (change.kind === 'exited') set.delete(change.process.pid);
}

/** First in, first out, without moving what waits at every shift. */
class Queue<T> {
  #items: (T | undefined)[] = [];
  #first = 0;

  get length(): number {
    return this.#items.length - this.#first;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  shift(): T | undefined {
    if (this.#first === this.#items.length) return undefined;
    const item = this.#items[this.#first];
    this.#items[this.#first] = undefined;
    this.#first += 1;
    if (this.#first * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#first);
      this.#first = 0;
    }
    return item;
  }
}
