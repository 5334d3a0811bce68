// The connector against the kernel: a known workload, every kind, losses of both causes, and forgery.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { blockUntil, requires } from '@sluice/testbed';
import { afterEach, describe, expect, it } from 'vitest';
import { openProcConnector, type ProcConnector, type ProcConnectorOptions, type ProcEvent } from '../src/index.js';
import { ALL_KINDS } from '../src/event.js';

const need = requires('root', 'proc-connector');
const packageDirectory = fileURLToPath(new URL('..', import.meta.url));
/** A prime, so that no batch size divides it. */
const SPAWNS = 101;

describe.skipIf(need.skip)(`the proc connector${need.label}`, () => {
  let connector: ProcConnector | undefined;
  let events: ProcEvent[] = [];
  const open = (options: Partial<ProcConnectorOptions> = {}): ProcConnector => {
    events = [];
    connector = openProcConnector({
      onBatch: (batch) => {
        for (const event of batch) events.push(event);
      },
      ...options,
    });
    return connector;
  };
  afterEach(() => connector?.close());

  const until = (holds: () => boolean): Promise<void> => expect.poll(holds, { interval: 5 }).toBe(true);
  /** One after another, with the event loop free: what others on the machine do meanwhile must not fill the ring. */
  async function spawnMany(): Promise<(number | undefined)[]> {
    const pids: (number | undefined)[] = [];
    for (let i = 0; i < SPAWNS; i++) {
      const child = spawn('/bin/true');
      await once(child, 'exit');
      pids.push(child.pid);
    }
    return pids;
  }
  const exited = (pid: number | undefined): boolean =>
    events.some((event) => event.kind === 'exit' && event.tgid === pid);

  it('delivers fork, exec and exit of every process, in this order', async () => {
    const opened = open();
    const pids = await spawnMany();
    await until(() => exited(pids.at(-1)));
    for (const pid of pids) {
      const own = events.filter((event) => event.kind !== 'overrun' && event.tgid === pid && event.pid === pid);
      expect(own.map((event) => event.kind)).toEqual(['fork', 'exec', 'exit']);
      expect(own[0]).toMatchObject({ parentTgid: process.pid });
      expect(own[2]).toMatchObject({ exitCode: 0, exitSignal: 17 });
      const times = own.map((event) => event.timestampNs);
      expect([...times].sort((a, b) => Number(a - b))).toEqual(times);
    }
    expect(opened.stats()).toMatchObject({ foreign: 0, truncated: 0, malformed: 0, outOfOrder: 0 });
  });

  it('delivers exec only when asked for exec only, and sees no loss in what it leaves out', async () => {
    open({ kinds: ['exec'] });
    const pids = await spawnMany();
    await until(() => events.some((event) => event.kind === 'exec' && event.tgid === pids.at(-1)));
    expect(new Set(events.map((event) => event.kind))).toEqual(new Set(['exec']));
    expect(connector?.stats()).toMatchObject({ gaps: 0, lost: 0 });
  });

  it('delivers the other kinds', async () => {
    open({ kinds: ALL_KINDS });
    const shell = (...command: string[]): number => spawnSync(command[0] as string, command.slice(1)).pid;
    const ids = shell('setpriv', '--reuid=65534', '--regid=65533', '--clear-groups', 'true');
    const session = shell('setsid', '--wait', 'true');
    const renamed = shell('sh', '-c', 'printf sluice-renamed > /proc/self/task/$$/comm; exit 3');
    const dumped = shell('sh', '-c', 'ulimit -c 0; kill -SEGV $$');
    await until(() => [ids, session, renamed, dumped].every(exited));
    const has = (expected: Partial<ProcEvent>): void =>
      expect(events).toContainEqual(expect.objectContaining(expected));
    has({ kind: 'uid', pid: ids, realId: 65534, effectiveId: 65534 });
    has({ kind: 'gid', pid: ids, realId: 65533, effectiveId: 65533 });
    has({ kind: 'sid' });
    has({ kind: 'comm', tgid: renamed, comm: 'sluice-renamed' });
    has({ kind: 'exit', tgid: renamed, exitCode: 3 << 8 });
    has({ kind: 'coredump', tgid: dumped, parentTgid: process.pid });
    has({ kind: 'exit', tgid: dumped, exitCode: 11 });
  });

  it('announces a full socket in its place, then counts the loss exactly', async () => {
    open({ receiveBufferBytes: 1, lingerMs: 1000 }); // the kernel's smallest buffer, and a reader that sleeps
    for (let i = 0; i < SPAWNS; i++) spawnSync('/bin/true');
    const stats = () => connector?.stats() ?? expect.fail();
    await until(() => stats().enobufs > 0 && events.some((event) => event.kind === 'overrun'));
    // The loss on a CPU is known only after its next message.
    await until(() => {
      spawnSync('/bin/true');
      return stats().lost > 0 && lostIn(events) === stats().lost;
    });
    expect(events.every((event) => event.kind !== 'overrun' || event.cause === 'socket')).toBe(true);
  });

  it('drops what the ring cannot hold while JavaScript is busy, says how much, and goes on', async () => {
    const ringRecords = 64;
    const opened = open({ ringRecords });
    // In one turn of the event loop: nothing is taken before the ring is full and more has come.
    blockUntil('the ring has overrun', () => {
      spawnSync('/bin/true');
      return opened.stats().ringLost > 0;
    });
    await until(() => events.some((event) => event.kind === 'overrun'));
    const overrun = events.findIndex((event) => event.kind === 'overrun');
    expect(overrun).toBe(ringRecords);
    expect(events[overrun]).toMatchObject({ cause: 'ring', cpu: -1 });
    await until(() => lostIn(events) === opened.stats().ringLost);
    // One of these overruns, in case others on the machine fill so small a ring again.
    const later: number[] = [];
    await until(() => {
      later.push(spawnSync('/bin/true').pid);
      return later.some(exited);
    });
  });

  it('takes a backlog in several batches, with the event loop running in between', async () => {
    const order: string[] = [];
    const opened = open({ onBatch: (batch) => order.push(`batch ${batch.length}`), kinds: ALL_KINDS });
    // Each makes a fork and an exit: more than the 4096 records of one batch, and all are in the ring before any is taken.
    execFileSync('sh', ['-c', 'i=0; while [ $i -lt 2500 ]; do (:); i=$((i+1)); done']);
    blockUntil('the backlog is in the ring', () => opened.stats().messages >= 5000);
    setImmediate(() => order.push('immediate'));
    await until(() => order.length >= 3 && order.includes('immediate'));
    expect(order[0]).toBe('batch 4096');
    expect(order.indexOf('immediate')).toBeLessThan(order.findLastIndex((entry) => entry.startsWith('batch')));
  });

  it('does not believe another process', async () => {
    const before = new Set(netlinkPorts());
    const opened = open();
    const [port] = netlinkPorts().filter((candidate) => !before.has(candidate));
    execFileSync('make', ['-s', 'build/forge'], { cwd: packageDirectory });
    execFileSync(`${packageDirectory}/build/forge`, [String(port), String(process.pid)]);
    await until(() => opened.stats().foreign === 1);
    expect(exited(process.pid)).toBe(false);
  });

  it('delivers nothing after close, which may come from within a batch', async () => {
    using witness = open();
    let batches = 0;
    using closing = openProcConnector({
      onBatch: () => {
        batches += 1;
        closing.close();
      },
    });
    spawnSync('/bin/true');
    await until(() => closing.closed);
    // Another connector that is open hears of a process that starts later.
    const { pid } = spawnSync('/bin/true');
    await until(() => exited(pid));
    expect(witness.closed).toBe(false);
    expect(batches).toBe(1);
    closing.close();
    expect(closing.stats().messages).toBeGreaterThan(0);
  });
});

/** How many events the overruns say are missing. */
function lostIn(events: readonly ProcEvent[]): number {
  return events.reduce((sum, event) => sum + (event.kind === 'overrun' ? (event.lost ?? 0) : 0), 0);
}

/** NETLINK_CONNECTOR of linux/netlink.h. */
const NETLINK_CONNECTOR = 11;

/** Port ids of this process's connector sockets, from /proc/net/netlink (sk, protocol, port, ..., inode). */
function netlinkPorts(): number[] {
  const inodes = new Set(
    readdirSync('/proc/self/fd').flatMap((fd) => {
      try {
        return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${fd}`))?.[1] ?? [];
      } catch {
        return []; // the descriptor of the listing itself
      }
    }),
  );
  return readFileSync('/proc/net/netlink', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => Number(fields[1]) === NETLINK_CONNECTOR && inodes.has(fields.at(-1) ?? ''))
    .map((fields) => Number(fields[2]));
}
