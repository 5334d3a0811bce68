// Subscriptions against the kernel: cold, closed by unsubscribing, counted, and failing with a reason.
import { execFileSync, spawnSync } from 'node:child_process';
import { requires } from '@sluice/testbed';
import { firstValueFrom, share, take, toArray, type Subscription } from 'rxjs';
import { afterEach, describe, expect, it } from 'vitest';
import { processEvents, type ProcessEvent } from '../src/index.js';
import { openConnectors } from './open-connectors.js';

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
