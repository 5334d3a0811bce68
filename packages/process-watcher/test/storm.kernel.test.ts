// Storms of processes while JavaScript is blocked: the whole life of each process is reported, or the loss is.
import { spawn, spawnSync, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { blockUntil, requires } from '@sluice/testbed';
import type { Subscription } from 'rxjs';
import { afterEach, describe, expect, it } from 'vitest';
import {
  processEvents,
  type ProcessEvent,
  type ProcessWatcherOptions,
  type ProcessWatcherStats,
} from '../src/index.js';

const need = requires('root', 'proc-connector');
const built = (name: string): string => fileURLToPath(new URL(`../build/${name}`, import.meta.url));
/** How many processes of a storm stay until it is told to end. */
const KEPT = 50;
/** Half of the default ring: the other half is for what arrives between the event that ends a block and its end. */
const EVENTS_PER_BLOCK = 32_768;

type Storm = ChildProcessByStdio<Writable, Readable, null>;

/** The children of one process, as the events report them: how many of each kind, and which live. */
class Children {
  readonly counts = { fork: 0, exec: 0, exit: 0 };
  readonly living = new Set<number>();

  take(event: ProcessEvent, parent: number | undefined): void {
    if (event.kind === 'overrun') return;
    if (event.kind === 'fork' && event.parentPid === parent) this.living.add(event.pid);
    // A pid is given out again, and may then be that of another process's child.
    if (!this.living.has(event.pid)) return;
    if (event.kind === 'exit') this.living.delete(event.pid);
    this.counts[event.kind] += 1;
  }
}

describe.skipIf(need.skip)(`processEvents() in a storm${need.label}`, () => {
  let storm: Storm | undefined;
  let subscription: Subscription | undefined;
  afterEach(async () => {
    subscription?.unsubscribe();
    if (storm !== undefined) await end(storm);
  });

  function start(count: number): Storm {
    return (storm = spawn(built('storm'), [String(count), String(KEPT), built('leave'), built('stay')], {
      stdio: ['pipe', 'pipe', 'inherit'],
    }));
  }
  async function end(started: Storm): Promise<void> {
    started.stdin.end();
    if (started.exitCode === null && started.signalCode === null) await once(started, 'exit');
  }
  async function done(started: Storm): Promise<void> {
    for await (const line of createInterface({ input: started.stdout })) if (line === 'done') return;
    expect.fail('the storm ended early');
  }

  it('of 50 000 processes, with JavaScript blocked again and again, reports the whole life of each, or a loss', async () => {
    const count = 50_000;
    const children = new Children();
    const overruns: ProcessEvent[] = [];
    const exited = new Set<number>();
    const watched = processEvents();
    subscription = watched.subscribe((event) => {
      children.take(event, storm?.pid);
      if (event.kind === 'overrun') overruns.push(event);
      if (event.kind === 'exit') exited.add(event.pid);
    });
    /** Waits until an event of this moment has arrived, so that all earlier ones have, too. */
    async function caughtUp(): Promise<void> {
      exited.clear();
      const pids: number[] = [];
      await expect
        .poll(() => {
          pids.push(spawnSync('/bin/true').pid);
          return pids.some((pid) => exited.has(pid));
        })
        .toBe(true);
    }
    // Others on the machine start processes, too, and may keep the reader from the CPU.
    const isTooMuch = (): boolean => {
      const { enobufs, ringLost } = watched.stats();
      return enobufs + ringLost > 0;
    };

    const atStart = watched.stats().messages;
    const started = start(count);
    const total = 3 * count - KEPT; // a fork, an exec and an exit of each
    let blocks = 0;
    for (let come = 0; come < total && !isTooMuch(); come = watched.stats().messages - atStart) {
      const enough = Math.min(come + EVENTS_PER_BLOCK, total);
      blockUntil('the storm goes on', () => watched.stats().messages - atStart >= enough || isTooMuch());
      blocks += 1;
      await caughtUp();
    }
    await done(started);
    await caughtUp();
    const before = { ...children.counts, living: children.living.size };
    await end(started);
    await caughtUp();
    const stats = watched.stats();
    expect(stats).toMatchObject({ foreign: 0, truncated: 0, malformed: 0, outOfOrder: 0 });
    if (isTooMuch()) await expect.poll(() => overruns.length).toBeGreaterThan(0);
    else {
      expect(before).toEqual({ fork: count, exec: count, exit: count - KEPT, living: KEPT });
      expect(children.counts).toEqual({ fork: count, exec: count, exit: count });
      expect(overruns).toEqual([]);
      expect(stats.lost).toBe(0);
    }
    process.stdout.write(`storm: ${JSON.stringify({ blocks, ...stats })}\n`);
  });

  it.each<[ProcessWatcherOptions, 'ring' | 'socket', (stats: ProcessWatcherStats) => number]>([
    [{ ringRecords: 256 }, 'ring', ({ ringLost }) => ringLost],
    // The reader sleeps, so that the storm is too much for the buffer however slow the machine is.
    [{ receiveBufferBytes: 4096, lingerMs: 200 }, 'socket', ({ lost }) => lost],
  ])(
    'that is too much for %o is reported as an overrun of the %s with the number of lost events, and events go on',
    async (...row) => {
      const [options, cause, lostBy] = row;
      const events: ProcessEvent[] = [];
      const watched = processEvents(options);
      subscription = watched.subscribe((event) => events.push(event));
      const started = start(5_000);
      blockUntil('the storm is too much', () => {
        const { ringLost, enobufs } = watched.stats();
        return ringLost + enobufs > 0;
      });
      await done(started);

      const lostIn = (reported: ProcessEvent[]): number =>
        reported.reduce((sum, event) => sum + (event.kind === 'overrun' ? (event.lost ?? 0) : 0), 0);
      const whole = (pid: number): boolean =>
        events
          .filter((event) => 'pid' in event && event.pid === pid)
          .map(({ kind }) => kind)
          .join() === 'fork,exec,exit';
      // The loss of a CPU is known only after its next message.
      await expect
        .poll(() => {
          spawnSync('/bin/true');
          const lost = lostBy(watched.stats());
          return lost > 0 && lostIn(events) === lost;
        })
        .toBe(true);
      const causes = events.flatMap((event) => (event.kind === 'overrun' ? event.cause : []));
      expect(new Set(causes)).toEqual(new Set([cause]));
      // One of several, because others on the machine may fill so small a buffer again.
      events.length = 0;
      const later: number[] = [];
      await expect
        .poll(() => {
          later.push(spawnSync('/bin/true').pid);
          return later.some(whole);
        })
        .toBe(true);
    },
  );
});
