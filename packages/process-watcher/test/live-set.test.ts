// The merge under any interleaving: whatever the kernel does, whenever events arrive and scans look, and whatever is lost, the
// set becomes that of the kernel in the end, and the changes add up to it.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LiveSet } from '../src/live-set.js';
import type { ProcessChange, ProcessEvent } from '../src/process-event.js';
import type { SeenProcess } from '@sluice/linux';
import { View } from './view.js';

const NS_PER_TICK = 10n;
const PIDS = 4; // few, so that pids are soon used again

type Step =
  | { do: 'fork' | 'exec' | 'exit'; pid: number }
  | { do: 'tick'; ns: number }
  | { do: 'deliver'; count: number }
  | { do: 'lose'; count: number }
  | { do: 'scan'; count: number };

const pid = fc.integer({ min: 1, max: PIDS });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('fork' as const), pid }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('exit' as const), pid }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('exec' as const), pid }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('tick' as const), ns: fc.integer({ min: 1, max: 25 }) }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('deliver' as const), count: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('lose' as const), count: fc.integer({ min: 1, max: 6 }) }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('scan' as const), count: fc.integer({ min: 1, max: 2 }) }) },
);

/** A kernel with a clock, a table of processes, a queue of events, and a /proc that is read pid by pid. */
class World {
  now = 100n;
  readonly table = new Map<number, SeenProcess>();
  readonly queue: ProcessEvent[] = [];
  readonly set = new LiveSet(
    (wanted) => this.table.get(wanted),
    (ns) => ns / NS_PER_TICK,
  );
  readonly view = new View();
  #images = 0;
  #scan: { next: number; seen: SeenProcess[] } | undefined;

  constructor() {
    this.#beginScan();
  }

  step(action: Step): void {
    switch (action.do) {
      case 'fork':
        return this.#fork(action.pid);
      case 'exec':
        return this.#exec(action.pid);
      case 'exit':
        return this.#exit(action.pid);
      case 'tick':
        this.now += BigInt(action.ns);
        return undefined;
      case 'deliver':
        for (const event of this.queue.splice(0, action.count)) this.#apply(event);
        return undefined;
      case 'lose':
        return this.#lose(action.count);
      case 'scan':
        return this.#look(action.count);
    }
  }

  /** Everything arrives and the last scan ends. */
  settle(): void {
    while (this.queue.length > 0 || this.#scan !== undefined) {
      this.step({ do: 'deliver', count: this.queue.length });
      this.step({ do: 'scan', count: PIDS });
    }
  }

  #fork(child: number): void {
    if (this.table.has(child)) return;
    const startTime = this.now / NS_PER_TICK;
    const image = `image ${this.#images}`;
    this.table.set(child, { pid: child, comm: 'x', startTime, parentPid: 0, threads: 1, leaderEnded: false, image });
    this.now += 1n; // the event is stamped after the process has its start time
    this.queue.push({ kind: 'fork', timestampNs: this.now, pid: child, parentPid: 0 });
  }

  #exec(of: number): void {
    const known = this.table.get(of);
    if (known === undefined) return;
    this.#images += 1;
    this.table.set(of, { ...known, image: `image ${this.#images}` });
    this.now += 1n;
    this.queue.push({ kind: 'exec', timestampNs: this.now, pid: of });
  }

  #exit(of: number): void {
    if (!this.table.delete(of)) return;
    this.now += 1n;
    this.queue.push({ kind: 'exit', timestampNs: this.now, pid: of, exitCode: 0 });
    // A pid is not given out again within the tick in which its process ended: the kernel uses every other pid first.
    this.now += NS_PER_TICK;
  }

  #lose(count: number): void {
    // The newest are lost, and the overrun takes their place.
    const lost = this.queue.splice(-count, count).filter((event) => event.kind !== 'overrun').length;
    this.queue.push({ kind: 'overrun', timestampNs: this.now, lost, cause: 'socket' });
  }

  #beginScan(): void {
    this.set.beginScan();
    this.#scan = { next: 1, seen: [] };
  }

  #look(count: number): void {
    const scan = this.#scan;
    if (scan === undefined) return;
    for (let i = 0; i < count && scan.next <= PIDS; i += 1, scan.next += 1) {
      const seen = this.table.get(scan.next);
      if (seen !== undefined) scan.seen.push(seen);
    }
    if (scan.next <= PIDS) return;
    this.#scan = undefined;
    const changes = this.set.endScan(scan.seen);
    if (changes === undefined) this.#beginScan();
    else this.#take(changes);
  }

  #apply(event: ProcessEvent): void {
    this.#take(this.set.apply(event));
    if (event.kind === 'overrun' && this.#scan === undefined) this.#beginScan();
  }

  #take(changes: readonly ProcessChange[]): void {
    for (const change of changes) {
      this.view.take(change);
      // A living process must not be reported as ended, not even for a moment.
      if (change.kind === 'exited' && this.table.get(change.process.pid)?.startTime === change.process.startTime) {
        this.view.contradictions.push(`${change.process.pid} lives`);
      }
    }
  }
}

describe('LiveSet', () => {
  it('ends with what lives, for any interleaving of events, scans, pid reuse and loss', () => {
    fc.assert(
      fc.property(fc.array(fc.array(step, { maxLength: 30 }), { maxLength: 6 }), (rounds) => {
        const world = new World();
        for (const steps of rounds) {
          for (const action of steps) world.step(action);
          world.settle();
          const truth = [...world.table.keys()].toSorted((a, b) => a - b);
          expect([...world.view.live.keys()].toSorted((a, b) => a - b)).toEqual(truth);
          expect(world.set.size).toBe(truth.length);
          expect(world.view.contradictions).toEqual([]);
          expect(world.view.synced).toBe(true);
          // The start time is that of /proc, or the tick of the fork event of a process that could not be looked up.
          for (const [known, startTime] of world.view.live) {
            const actual = world.table.get(known)?.startTime ?? -1n;
            expect(startTime - actual === 0n || startTime - actual === 1n).toBe(true);
          }
        }
      }),
      { numRuns: 3000 },
    );
  });

  it('does not end a process because of the late exit event of an earlier one with its pid', () => {
    const world = new World();
    for (const action of ['fork', 'exit', 'fork'] as const) world.step({ do: action, pid: 1 });
    world.step({ do: 'scan', count: PIDS }); // sees the second one, and no event has been delivered yet
    world.settle();
    expect(world.view.counts).toMatchObject({ started: 1, exited: 0 });
    expect(world.view.contradictions).toEqual([]);
  });

  it('reports an exec that was lost', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 3 }), (before) => {
        const world = new World();
        world.step({ do: 'fork', pid: 1 });
        for (let i = 0; i < before; i += 1) world.step({ do: 'exec', pid: 1 });
        world.settle();
        const told = world.view.counts.exec;
        world.step({ do: 'exec', pid: 1 });
        world.step({ do: 'lose', count: 1 });
        world.settle();
        expect(world.view.counts.exec).toBe(told + 1);
      }),
    );
  });
});
