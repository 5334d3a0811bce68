// What all calls for the inside of a namespace share: threads, descriptors, privileges, and concurrent calls.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { requires } from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  addRoute,
  addRule,
  deleteRoute,
  deleteRule,
  Netns,
  readSysctl,
  routes,
  rules,
  SystemCallError,
  tcFilters,
} from '../src/index.js';
import { NamedNetns, place, route, rule } from './support/plumbing.js';

const need = requires('root', 'netns');

describe.skipIf(need.skip)(`threads and privileges${need.label}`, () => {
  let netns: NamedNetns;
  beforeAll(() => {
    netns = new NamedNetns();
  });
  afterAll(() => netns?.remove());

  it('leaves every thread of this process where it was, and no thread or descriptor behind', () => {
    const threads = (): string[] =>
      readdirSync('/proc/self/task').map((task) => readlinkSync(`/proc/self/task/${task}/ns/net`));
    const files = (): number => readdirSync('/proc/self/fd').length;
    const before = { threads: threads().length, files: files() };
    for (let i = 0; i < 50; i++) {
      addRule(netns.open, rule(4));
      addRoute(netns.open, route(6));
      tcFilters(netns.open, 'lo');
      readSysctl(netns.open, 'net.ipv4.ip_forward');
      deleteRoute(netns.open, route(6));
      deleteRule(netns.open, rule(4));
      expect(() => addRoute(netns.open, { ...route(4), interface: 'eth7' })).toThrow(SystemCallError);
    }
    expect(new Set(threads())).toEqual(new Set([readlinkSync('/proc/self/ns/net')]));
    expect(threads()).toHaveLength(before.threads);
    expect(files()).toBe(before.files);
  });

  it('does each thing once when several callers do the same at the same time', async () => {
    // A worker that is given as text is a module, too, as its import shows.
    const source = `
        import { parentPort, workerData } from 'node:worker_threads';
        import { addRoute, addRule, detachTc, Netns } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)};
        const { path, rule, route, place, gate } = workerData;
        parentPort.postMessage('ready');
        Atomics.wait(gate, 0, 0);
        const netns = Netns.open(path);
        const { filter } = detachTc(netns, 'lo', place);
        parentPort.postMessage([addRule(netns, rule), addRoute(netns, route), filter]);`;
    const gate = new Int32Array(new SharedArrayBuffer(4));
    netns.addFilter(place.name, place);
    const workerData = { path: netns.path, rule: rule(4), route: route(4), place, gate };
    const workers = Array.from({ length: 4 }, () => new Worker(source, { eval: true, workerData }));
    await Promise.all(workers.map((worker) => once(worker, 'message')));
    const answers = workers.map((worker) => once(worker, 'message') as Promise<[string[]]>);
    Atomics.store(gate, 0, 1);
    Atomics.notify(gate, 0);
    const outcomes = (await Promise.all(answers)).map(([outcome]) => outcome);
    await Promise.all(workers.map((worker) => worker.terminate()));
    for (const column of [0, 1])
      expect(outcomes.map((outcome) => outcome[column] ?? '').toSorted()).toEqual([
        'added',
        ...Array(3).fill('present'),
      ]);
    expect(outcomes.map((outcome) => outcome[2])).toContain('deleted');
    expect([
      rules(netns.open).filter((listed) => listed.table === 100),
      routes(netns.open, 100),
      tcFilters(netns.open, 'lo'),
    ]).toEqual([[expect.anything()], [expect.anything()], []]);
    deleteRule(netns.open, rule(4));
    deleteRoute(netns.open, route(4));
  });

  it('says what an unprivileged caller lacks', () => {
    // With CAP_SYS_ADMIN, to enter, but without CAP_NET_ADMIN, to change.
    const script = `
      import { addRule, Netns } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)};
      const rule = { family: 4, priority: 7, table: 100 };
      const netns = Netns.open(${JSON.stringify(netns.path)});
      try { addRule(netns, rule); } catch (error) { process.stdout.write(error.message); }`;
    const node = [process.execPath, '--input-type=module', '-e', script];
    const output = execFileSync('setpriv', ['--bounding-set=-net_admin', '--inh-caps=-net_admin', ...node], {
      encoding: 'utf8',
    });
    expect(output).toMatch(/^rtnetlink .*RTM_NEWRULE.*: EPERM; changing a network namespace needs CAP_NET_ADMIN/);
  });

  it('refuses a namespace that has been closed', () => {
    const closed = Netns.open(netns.path);
    closed.close();
    for (const use of [() => rules(closed), () => addRule(closed, rule(4)), () => readSysctl(closed, 'net.x')])
      expect(use).toThrow('netnsFd must be an integer from 0');
  });
});
