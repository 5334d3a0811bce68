// 50 000 processes while JavaScript is blocked for two seconds; afterwards the live set equals that of /proc.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { blockUntil, requires } from '@sluice/testbed';
import { afterEach, describe, expect, it } from 'vitest';
import type { Subscription } from 'rxjs';
import { processes, type ProcessWatcherOptions, type ProcessWatcherStats } from '../src/index.js';
import { difference, View } from './view.js';

const need = requires('root', 'proc-connector');
const built = (name: string): string => fileURLToPath(new URL(`../build/${name}`, import.meta.url));
const KEPT = 50;
const BLOCKED_MS = 2000;

describe.skipIf(need.skip)(`processes() in a storm${need.label}`, () => {
  let storm: ChildProcess | undefined;
  let subscription: Subscription | undefined;
  afterEach(async () => {
    subscription?.unsubscribe();
    if (storm !== undefined && storm.exitCode === null) {
      storm.stdin?.end();
      await once(storm, 'exit');
    }
  });

  /** `isLost`: what must have been lost before JavaScript goes on. */
  async function weather(
    count: number,
    options: ProcessWatcherOptions,
    isLost: (stats: ProcessWatcherStats) => boolean = () => true,
  ): Promise<{ view: View; stats: ProcessWatcherStats }> {
    const view = new View();
    const changes = processes(options);
    subscription = changes.subscribe((change) => view.take(change));
    await expect.poll(() => view.synced).toBe(true);
    const started = spawn(built('storm'), [String(count), String(KEPT), built('leave'), built('stay')], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    storm = started;
    for await (const line of createInterface({ input: started.stdout })) {
      if (line === 'done') break;
      const until = performance.now() + BLOCKED_MS;
      while (performance.now() < until); // the event loop stands still, the storm does not
      blockUntil('the storm was too much', () => isLost(changes.stats()));
    }
    await same(view);
    const kept = [...view.live.keys()].length;
    started.stdin.end();
    await once(started, 'exit');
    await same(view);
    expect(kept - [...view.live.keys()].length).toBeGreaterThan(0);
    expect(view.contradictions).toEqual([]);
    return { view, stats: changes.stats() };
  }

  const same = (view: View): Promise<void> => expect.poll(() => difference(view)).toEqual({ missing: [], extra: [] });

  it('of 50 000 processes, with the consumer blocked, ends with the set of /proc', async () => {
    const { view, stats } = await weather(50_000, {});
    // Either every process was reported, or its loss was, and put right.
    if (stats.lost + stats.ringLost === 0 && stats.enobufs === 0) expect(view.counts.started).toBeGreaterThan(50_000);
    else expect(view.counts.overrun).toBeGreaterThan(0);
    expect(stats).toMatchObject({ foreign: 0, truncated: 0, malformed: 0, outOfOrder: 0 });
    process.stdout.write(`storm: ${JSON.stringify({ ...view.counts, ...stats })}\n`);
  });

  it('that overruns the ring ends with the set of /proc', async () => {
    const { view, stats } = await weather(5_000, { ringRecords: 256 }, ({ ringLost }) => ringLost > 0);
    expect(stats.scans).toBeGreaterThan(1);
    expect(view.counts.overrun).toBeGreaterThan(0);
  });

  it('that overruns the socket ends with the set of /proc', async () => {
    // The reader sleeps, so that the storm is too much for the buffer however slow the machine is.
    const options = { receiveBufferBytes: 4096, lingerMs: 200 };
    const { view, stats } = await weather(5_000, options, ({ enobufs }) => enobufs > 0);
    expect(stats.scans).toBeGreaterThan(1);
    expect(view.counts.overrun).toBeGreaterThan(0);
  });
});
