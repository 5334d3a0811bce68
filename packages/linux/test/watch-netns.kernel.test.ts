// Watches of namespaces of the test’s own, in which iproute2 and this package change rules, routes and addresses.
import { execFileSync } from 'node:child_process';
import { readdirSync, readlinkSync } from 'node:fs';
import { requires } from '@sluice/testbed';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  addRoute,
  addRule,
  deleteRule,
  watchNetns,
  writeSysctl,
  type Netns,
  type NetnsChange,
  type PolicyRule,
} from '../src/index.js';
import { failureOf, FAMILIES, NamedNetns, route, rule } from './support/plumbing.js';

const need = requires('root', 'netns');
const index = JSON.stringify(new URL('../dist/index.js', import.meta.url).href);
const EVERYTHING = new Set<NetnsChange>(['rules', 'routes', 'addresses']);

describe.skipIf(need.skip)(`a watched network namespace${need.label}`, () => {
  let netns: NamedNetns;
  let calls: ReadonlySet<NetnsChange>[];
  let watch: Disposable;
  const note = (changes: ReadonlySet<NetnsChange>): void => void calls.push(changes);
  /** What the calls said since the last time, as soon as there is one. */
  const heard = async (): Promise<Set<NetnsChange>> => {
    await expect.poll(() => calls.length).toBeGreaterThan(0);
    return new Set(calls.splice(0).flatMap((changes) => [...changes]));
  };
  /** Lets everything be delivered that has been notified by now: a change of ours comes after it. */
  const settle = async (): Promise<void> => {
    const seen = new NamedNetns();
    const done = new Promise<void>((resolve) => {
      const last = watchNetns(seen.open, () => {
        last[Symbol.dispose]();
        resolve();
      });
    });
    addRule(seen.open, rule(4));
    await done;
    seen.remove();
  };

  beforeEach(() => {
    netns = new NamedNetns();
    calls = [];
    watch = watchNetns(netns.open, note);
  });
  afterEach(() => {
    watch?.[Symbol.dispose]();
    netns?.remove();
  });

  it.each(FAMILIES)('says that an IPv%d rule, route or address was added, and that it was deleted', async (family) => {
    netns.addWire(false);
    const address = [family === 4 ? '10.20.0.7/24' : 'fd66:20::7/64', 'dev', 'wire'];
    const changes: [NetnsChange, () => unknown][] = [
      ['rules', () => addRule(netns.open, rule(family))],
      ['rules', () => deleteRule(netns.open, rule(family))],
      ['routes', () => addRoute(netns.open, route(family))],
      ['routes', () => netns.ip(`-${family}`, 'route', 'flush', 'table', '100')],
      ['addresses', () => netns.ip('address', 'add', ...address)],
      ['addresses', () => netns.ip('address', 'delete', ...address)],
    ];
    for (const [what, change] of changes) {
      change();
      expect([...(await heard())]).toContain(what);
      await settle();
      calls = [];
    }
  });

  it('says that a device goes down or up, because its routes go and come with it', async () => {
    netns.addWire();
    await settle();
    calls = [];
    for (const state of ['down', 'up']) {
      netns.ip('link', 'set', 'wire', state);
      expect([...(await heard())]).toContain('devices');
      await settle();
      calls = [];
    }
  });

  it('says nothing of what does not concern it', async () => {
    netns.addWire(false);
    await settle();
    calls = [];
    netns.ip('link', 'set', 'wire', 'mtu', '1400');
    writeSysctl(netns.open, 'net.ipv4.ip_forward', '1');
    await settle();
    expect(calls).toEqual([]);
  });

  it('says everything of a burst at once', async () => {
    // Nothing is delivered while this runs.
    netns.ip('address', 'add', '10.20.0.7/32', 'dev', 'lo');
    for (let table = 1; table <= 50; table++) addRule(netns.open, { ...rule(4), table } as PolicyRule);
    netns.ip('rule', 'flush');
    expect(calls).toEqual([]);
    await settle();
    expect(calls).toEqual([EVERYTHING]);
  });

  it('says that something was lost when more has changed than the kernel keeps, and goes on', async () => {
    const batch = Array.from({ length: 4000 }, (_, i) => `rule add priority ${i + 10} lookup 70`);
    execFileSync('ip', ['-n', netns.name, '-batch', '-'], { input: `${batch.join('\n')}\n` });
    expect([...(await heard())]).toEqual(expect.arrayContaining(['rules', 'lost']));
    await settle();
    calls = [];
    addRoute(netns.open, route(4));
    expect([...(await heard())]).toEqual(['routes']);
  });

  it('says nothing once it is closed, also while messages arrive', async () => {
    addRule(netns.open, rule(4));
    watch[Symbol.dispose]();
    watch[Symbol.dispose]();
    addRoute(netns.open, route(4));
    await settle();
    expect(calls).toEqual([]);
  });

  it('can be closed by a callback, its own or that of another', async () => {
    const closing: string[] = [];
    const all: Disposable[] = [];
    for (const name of ['one', 'other'])
      all.push(
        watchNetns(netns.open, () => {
          closing.push(name);
          for (const one of all) one[Symbol.dispose]();
        }),
      );
    addRule(netns.open, rule(4));
    addRoute(netns.open, route(4));
    await heard();
    await settle();
    expect(closing).toHaveLength(1);
  });

  it('knows each namespace and each watch from the others', async () => {
    const other = new NamedNetns();
    const others: ReadonlySet<NetnsChange>[] = [];
    const beside: ReadonlySet<NetnsChange>[] = [];
    const more = [
      watchNetns(other.open, (changes) => void others.push(changes)),
      watchNetns(netns.open, (changes) => void beside.push(changes)),
    ];
    addRule(netns.open, rule(6));
    await settle();
    addRoute(other.open, route(4));
    await settle();
    expect([calls, beside, others]).toEqual([[new Set(['rules'])], [new Set(['rules'])], [new Set(['routes'])]]);
    for (const one of more) one[Symbol.dispose]();
    other.remove();
  });

  it('holds the namespace after everybody else has left it, and lets it go in the end', async () => {
    // The other end of a wire goes away with the namespace.
    const outside = new NamedNetns();
    netns.ip('link', 'add', 'wire', 'type', 'veth', 'peer', 'name', 'far', 'netns', outside.name);
    netns.ip('link', 'set', 'wire', 'up');
    netns.ip('address', 'add', '10.20.0.7/24', 'dev', 'wire');
    const { name } = netns;
    netns.open.close();
    execFileSync('ip', ['netns', 'delete', name]);
    await settle();
    calls = [];
    outside.ip('link', 'delete', 'far');
    expect([...(await heard())]).toContain('addresses');
    outside.remove();
    watch[Symbol.dispose]();

    const again = new NamedNetns();
    const left = new NamedNetns();
    left.ip('link', 'add', 'wire', 'type', 'veth', 'peer', 'name', 'far', 'netns', again.name);
    const last = watchNetns(left.open, note);
    left.remove();
    await settle();
    expect(again.ip('link', 'show', 'far')).toContain('far');
    last[Symbol.dispose]();
    await expect.poll(() => again.ip('-brief', 'link')).not.toContain('far');
    again.remove();
    netns = new NamedNetns(); // for afterEach
  });

  it('is refused with the call and its errno', () => {
    netns.open.close();
    expect(() => watchNetns(netns.open, note)).toThrow(RangeError);
    const nowhere = { fd: 0, path: '/dev/null' } as unknown as Netns;
    expect(failureOf(() => watchNetns(nowhere, note))).toMatchObject({ syscall: 'setns', object: '/dev/null' });
  });

  it('costs one descriptor while it is open, and no thread of its own', async () => {
    const files = (): number => readdirSync('/proc/self/fd').length;
    const threads = (): string[] =>
      readdirSync('/proc/self/task').map((task) => readlinkSync(`/proc/self/task/${task}/ns/net`));
    const before = { files: files(), threads: threads().length };
    for (let round = 0; round < 20; round++) {
      const many = Array.from({ length: 10 }, () => watchNetns(netns.open, note));
      expect(files()).toBe(before.files + 10);
      addRule(netns.open, { ...rule(4), table: round + 1 } as PolicyRule);
      if (round % 2 === 0) await settle();
      for (const one of many) one[Symbol.dispose]();
    }
    expect(files()).toBe(before.files);
    await expect.poll(() => threads().length).toBe(before.threads);
    expect(new Set(threads())).toEqual(new Set([readlinkSync('/proc/self/ns/net')]));
  });
});

describe.skipIf(need.skip)(`the life of a process with a watch${need.label}`, () => {
  const run = (program: string): string =>
    execFileSync(
      'prlimit',
      [
        '--nofile=256',
        process.execPath,
        '--input-type=module',
        '-e',
        `import { addRule, Netns, watchNetns } from ${index};
         const say = (...words) => process.stdout.write(words.map(String).join(' '));
         const rule = { family: 4, priority: 7, table: 7 };
         ${program}`,
      ],
      { encoding: 'utf8' },
    );

  it('ends by itself although the watch is open', () => {
    expect(run(`const netns = Netns.create(); watchNetns(netns, () => say('called')); say('over');`)).toBe('over');
  });

  it('ends by exit() while changes are under way', () => {
    expect(
      run(`const netns = Netns.create(); watchNetns(netns, () => say('called'));
        for (let table = 1; table < 20; table++) addRule(netns, { ...rule, table }); say('over'); process.exit(0);`),
    ).toBe('over');
  });

  it('hears of an error in a callback, after the other watches have been called', () => {
    expect(
      run(`const netns = Netns.create(); const alive = setInterval(() => undefined, 1000);
        process.on('uncaughtException', ({ message }) => { say(message); clearInterval(alive); });
        watchNetns(netns, () => { throw new Error('mine'); });
        watchNetns(netns, () => say('called and '));
        addRule(netns, rule);`),
    ).toBe('called and mine');
  });

  it('hears which call has failed when no descriptor is left', () => {
    expect(
      run(`import { openSync } from 'node:fs';
        const netns = Netns.create(); watchNetns(netns, () => undefined);
        try { for (;;) openSync('/dev/null'); } catch {}
        try { watchNetns(netns, () => undefined); } catch ({ message }) { say(message); }
        process.exit(0);`),
    ).toBe('socket a new network namespace (NETLINK_ROUTE): EMFILE; too many open files; raise RLIMIT_NOFILE');
  });

  it('has watches in each of its threads, which end with the thread', () => {
    expect(
      run(`import { Worker } from 'node:worker_threads'; import { once } from 'node:events';
        import { readdirSync } from 'node:fs';
        const netns = Netns.create();
        const files = () => readdirSync('/proc/self/fd').length;
        const source = \`import { Netns, watchNetns } from ${index}; import { parentPort, workerData } from 'node:worker_threads';
          const netns = Netns.open(workerData); watchNetns(netns, (changes) => parentPort.postMessage([...changes]));
          parentPort.postMessage('up'); setInterval(() => undefined, 1000);\`;
        const once_ = async () => {
          const worker = new Worker(source, { eval: true, workerData: '/proc/self/fd/' + netns.fd });
          await once(worker, 'message');
          const told = once(worker, 'message');
          addRule(netns, { ...rule, table: Math.ceil(Math.random() * 1e9) });
          const [changes] = await told;
          await worker.terminate();
          return changes;
        };
        await once_();
        const before = files();
        const changes = await once_();
        say(changes, files() - before);`),
    ).toBe('rules 0');
  });
});
