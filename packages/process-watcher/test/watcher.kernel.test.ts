// Subscriptions against the kernel: cold, closed by unsubscribing, counted, and failing with a reason.
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { requires } from '@sluice/testbed';
import { firstValueFrom, share, take, toArray, type Subscription } from 'rxjs';
import { afterEach, describe, expect, it } from 'vitest';
import { processes, processEvents, ProcessWatcherError, type ProcessEvent } from '../src/index.js';
import { parseStat } from '@sluice/linux';
import { openConnectors } from './open-connectors.js';
import { difference, View } from './view.js';

const need = requires('root', 'proc-connector');

describe.skipIf(need.skip)(`processEvents()${need.label}`, () => {
  let subscriptions: Subscription[] = [];
  afterEach(() => {
    for (const subscription of subscriptions.splice(0)) subscription.unsubscribe();
  });

  it('is cold: nothing is open before the first subscription, and each has its own connector', async () => {
    const events = processEvents();
    expect([openConnectors(), events.stats().connectors]).toEqual([0, 0]);
    subscriptions = [events.subscribe(), events.subscribe()];
    expect([openConnectors(), events.stats().connectors]).toEqual([2, 2]);
    spawnSync('/bin/true');
    await expect.poll(() => events.stats().messages).toBeGreaterThanOrEqual(6);
    for (const subscription of subscriptions) subscription.unsubscribe();
    expect([openConnectors(), events.stats().connectors]).toEqual([0, 0]);
    expect(events.stats().messages).toBeGreaterThanOrEqual(6); // the counts so far stay
  });

  it('shares one connector behind share()', () => {
    const events = processEvents().pipe(share());
    subscriptions = [events.subscribe(), events.subscribe()];
    expect(openConnectors()).toBe(1);
  });

  it('closes when an operator has had enough in the middle of a batch', async () => {
    const enough = firstValueFrom(processEvents().pipe(take(2), toArray()));
    for (let i = 0; i < 5; i += 1) spawnSync('/bin/true');
    expect(await enough).toHaveLength(2);
    expect(openConnectors()).toBe(0);
  });

  it('reports the life of a process', async () => {
    const seen: ProcessEvent[] = [];
    subscriptions = [processEvents().subscribe((event) => seen.push(event))];
    const { pid } = spawnSync('sh', ['-c', 'exit 3']);
    await expect
      .poll(() => seen.filter((event) => event.kind !== 'overrun' && event.pid === pid))
      .toMatchObject([{ kind: 'fork', parentPid: process.pid }, { kind: 'exec' }, { kind: 'exit', exitCode: 3 << 8 }]);
  });

  it('errs with the connector’s own message', async () => {
    const script = `
      import { processEvents } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)};
      processEvents().subscribe({ error: ({ name, message }) => console.log(name + ': ' + message) });`;
    const said = execFileSync('unshare', ['--net', process.execPath, '--input-type=module', '-e', script], {
      encoding: 'utf8',
    });
    expect(said).toMatch(/^ProcConnectorError: cannot open the proc connector: .*hostNetwork: true/);
  });
});

describe.skipIf(need.skip)(`processes()${need.label}`, () => {
  let subscription: Subscription | undefined;
  afterEach(() => subscription?.unsubscribe());

  it('gives every subscription the whole set, with the start times of /proc', async () => {
    const changes = processes();
    const [first, second] = [new View(), new View()];
    subscription = changes.subscribe((change) => first.take(change));
    subscription.add(changes.subscribe((change) => second.take(change)));
    await expect.poll(() => [first.synced, second.synced]).toEqual([true, true]);
    const self = parseStat(readFileSync('/proc/self/stat', 'utf8'));
    for (const view of [first, second]) {
      expect(view.live.get(process.pid)).toBe(self?.startTime);
      await expect.poll(() => difference(view)).toEqual({ missing: [], extra: [] });
      expect(view.contradictions).toEqual([]);
    }
    const { connectors, scans } = changes.stats();
    expect(connectors).toBe(2);
    // At least one scan for each, and more if others on the machine made so many processes that one lost some.
    expect(scans).toBeGreaterThanOrEqual(2);
    subscription.unsubscribe();
    expect(openConnectors()).toBe(0);
  });

  it('is closed at once when unsubscribed during its first scan', () => {
    subscription = processes().subscribe(() => expect.fail('nothing may come'));
    expect(openConnectors()).toBe(1);
    subscription.unsubscribe();
    expect(openConnectors()).toBe(0);
  });

  it('says what to do when /proc does not exist', async () => {
    const empty = await mkdtemp(join(tmpdir(), 'sluice-no-proc-'));
    try {
      await expect(firstValueFrom(processes({ procPath: empty }))).rejects.toThrow(
        `${empty} holds no processes; mount the proc file system of the host there, or set procPath to where it is`,
      );
    } finally {
      await rmdir(empty);
    }
    const refusal = await firstValueFrom(processes({ procPath: '/nonexistent' })).catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(ProcessWatcherError);
    expect(refusal).toMatchObject({
      code: 'ENOENT',
      message: expect.stringContaining('cannot list the processes in /nonexistent: ENOENT'),
    });
    expect(openConnectors()).toBe(0);
  });
});
