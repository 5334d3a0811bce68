// The plumbing that lets ztunnel dial an application from the client's address, in a real namespace with real traffic of both
// families: it works, can be added and removed repeatedly, and leaves nothing behind.
import { fileURLToPath } from 'node:url';
import { addRoute, addRule, Netns, readSysctl, writeSysctl } from '@sluice/linux';
import {
  Cgroup,
  cgroup2Root,
  enterCommand,
  LineProcess,
  Namespace,
  peerProgram,
  requires,
  runToEnd,
  uniqueName,
} from '@sluice/testbed';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  checkState,
  ensureState,
  removeState,
  wantedParts,
  type EnsuredState,
  type StateMemory,
} from '../src/pod-netns/netns-state.js';
import type { WantedParts } from '../src/pod-netns/parts.js';
import { PlumbingConflict } from '../src/pod-netns/plumbing-conflict.js';

const need = requires('root', 'netns', 'cgroup2');

/** A process that accepts and dials as ztunnel does, with the mark that connect() gives its dials. */
const RELAY = fileURLToPath(new URL('../../linux/build/test/original-source-relay', import.meta.url));

const FAMILIES = [4, 6] as const;
type Family = (typeof FAMILIES)[number];
const CLIENT = { 4: '10.66.40.1', 6: 'fd66:40::1' } as const;
const POD = { 4: '10.66.40.2', 6: 'fd66:40::2' } as const;
const APPLICATION_PORT = 8080;
const CLOSED_PORT = 8081;
const RELAY_PORT = { 4: 15004, 6: 15006 } as const;
const RELAY_TO_CLOSED = { 4: 15014, 6: 15016 } as const;
const at = (address: string, port: number): string =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;

const EVERYTHING = [
  'IPv4 route',
  'IPv6 route',
  'net.ipv4.tcp_fwmark_accept',
  'net.ipv4.fwmark_reflect',
  'net.ipv6.fwmark_reflect',
  'IPv4 rule',
  'IPv6 rule',
];
const IPV6_PARTS = EVERYTHING.filter((part) => /ipv6/i.test(part));

interface Answer {
  by: string;
  peer?: string;
  local?: string;
  error?: string;
}

describe.skipIf(need.skip)(`original source in a pod${need.label}`, () => {
  let cgroup: Cgroup;
  let pod: Namespace;
  let client: Namespace;
  let netns: Netns;
  let pristine: string[];
  const processes: LineProcess[] = [];

  async function start(...argv: string[]): Promise<void> {
    const process = await LineProcess.start(enterCommand({ netns: pod.path }, argv));
    processes.push(process);
    await process.lineMatching(/ready/);
  }

  beforeAll(async () => {
    cgroup = new Cgroup(`${cgroup2Root()}/${uniqueName()}`);
    pod = await Namespace.create(cgroup);
    client = await Namespace.create(cgroup);
    netns = Netns.open(pod.path);
    await client.ip(
      `link add eth0 type veth peer name eth0 netns ${pod.pid}`,
      'link set eth0 up',
      `address add ${CLIENT[4]}/24 dev eth0`,
      `address add ${CLIENT[6]}/64 dev eth0 nodad`,
    );
    await pod.ip('link set eth0 up', `address add ${POD[4]}/24 dev eth0`, `address add ${POD[6]}/64 dev eth0 nodad`);
    await start(peerProgram(), 'serve', '--name', 'application', '--port', String(APPLICATION_PORT));
    for (const family of FAMILIES) {
      const target = family === 4 ? `::ffff:${POD[4]}` : POD[6];
      await start(RELAY, String(RELAY_PORT[family]), target, String(APPLICATION_PORT));
      await start(RELAY, String(RELAY_TO_CLOSED[family]), target, String(CLOSED_PORT));
    }
  });
  afterAll(async () => {
    for (const process of processes) await process.stop();
    await client?.close();
    netns?.close();
    await pod?.close();
    cgroup?.remove();
  });
  beforeEach(async () => {
    pristine = await state();
  });
  // Whatever a test did, everything that this module added is gone at its end.
  afterEach(async () => {
    removeState(netns, {});
    expect(await state()).toEqual(pristine);
  });

  const wanted = (ipv6 = true): WantedParts => wantedParts(netns, { ipv6, capture: { by: 'rewrite' } }, []);
  function ensured({ ipv6, memory }: { ipv6?: boolean; memory?: StateMemory } = {}): EnsuredState {
    return ensureState(netns, wanted(ipv6), { memory });
  }
  const missing = (ipv6 = true): readonly string[] => checkState(netns, wanted(ipv6), {});

  async function dial(to: string): Promise<Answer[]> {
    const argv = [peerProgram(), 'dial', '--to', to];
    const [line = ''] = await runToEnd(enterCommand({ netns: client.path }, argv));
    return (JSON.parse(line) as { hops: Answer[] }).hops;
  }
  const applicationSeesClient = async (family: Family): Promise<void> => {
    const [hop] = await dial(at(POD[family], RELAY_PORT[family]));
    expect(hop).toMatchObject({ by: 'application', local: at(POD[family], APPLICATION_PORT) });
    expect(hop?.peer?.replace(/:\d+$/, ':0')).toBe(at(CLIENT[family], 0));
  };

  /** All rules, routes, qdiscs and sysctls of the namespace, as iproute2 and procfs show them. */
  async function state(): Promise<string[]> {
    const commands = ['ip -4 rule', 'ip -6 rule', 'tc qdisc show dev lo'];
    const lines = (await Promise.all(commands.map((command) => pod.run(command.split(' '))))).flat();
    // The routes of all tables, because a table without routes does not exist. Other tables change by themselves.
    for (const family of FAMILIES) {
      const all = await pod.run(['ip', `-${family}`, 'route', 'show', 'table', 'all']);
      lines.push(...all.filter((route) => route.includes('table 100')));
    }
    const sysctls = EVERYTHING.filter((part) => part.startsWith('net.'));
    return [...lines, ...sysctls.map((name) => `${name} = ${readSysctl(netns, name)}`)];
  }

  it.each(FAMILIES)('lets the application see the client, and closed ports be refused, by IPv%d', async (family) => {
    const { memory } = ensured();
    await applicationSeesClient(family);
    expect(await dial(at(POD[family], RELAY_TO_CLOSED[family]))).toEqual([
      { by: 'relay', error: 'Connection refused' },
    ]);
    // Connections that do not come through ztunnel are as before.
    expect(await dial(at(POD[family], APPLICATION_PORT))).toMatchObject([{ by: 'application' }]);
    removeState(netns, { memory });
    expect(await dial(at(POD[family], APPLICATION_PORT))).toMatchObject([{ by: 'application' }]);
  });

  it('works with the strict address checks of a pod', async () => {
    const strict = { rp_filter: '1', accept_local: '0', route_localnet: '0', src_valid_mark: '0' };
    const before: [string, string][] = [];
    for (const device of ['all', 'lo', 'eth0'])
      for (const [key, value] of Object.entries(strict)) {
        const name = `net.ipv4.conf.${device}.${key}`;
        before.push([name, writeSysctl(netns, name, value).previous]);
      }
    try {
      ensured();
      for (const family of FAMILIES) await applicationSeesClient(family);
    } finally {
      for (const [name, value] of before) writeSysctl(netns, name, value);
    }
  });

  it('reports what it changed, and adds only what is missing', async () => {
    expect(missing()).toEqual(expect.arrayContaining(EVERYTHING));
    const first = ensured();
    expect(first.changed).toEqual(EVERYTHING);
    expect(missing()).toEqual([]);
    const full = await state();
    const again = ensured({ memory: first.memory });
    expect(again).toMatchObject({ changed: [], memory: first.memory });
    expect(await state()).toEqual(full);

    // The kernel drops IPv6's route when the loopback goes down. Somebody removes some of the other parts.
    await pod.ip('link set lo down', 'link set lo up', 'route flush table 100');
    await pod.ip('rule del priority 32764');
    writeSysctl(netns, 'net.ipv4.fwmark_reflect', '0');
    const lost = ['IPv4 route', 'IPv6 route', 'net.ipv4.fwmark_reflect', 'IPv4 rule'];
    expect(missing().toSorted()).toEqual(lost.toSorted());
    expect(ensured({ memory: first.memory })).toMatchObject({ changed: lost, memory: first.memory });
    for (const family of FAMILIES) await applicationSeesClient(family);
  });

  it('restores the sysctls, with a memory that was JSON', async () => {
    writeSysctl(netns, 'net.ipv4.fwmark_reflect', '1');
    try {
      const before = await state();
      const memory = JSON.parse(JSON.stringify(ensured().memory)) as StateMemory;
      expect(memory).toEqual({
        netnsCookie: String(netns.cookie),
        sysctls: { 'net.ipv4.tcp_fwmark_accept': '0', 'net.ipv6.fwmark_reflect': '0' },
      });
      expect(removeState(netns, { memory }).toSorted()).toEqual(
        EVERYTHING.filter((part) => part !== 'net.ipv4.fwmark_reflect').toSorted(),
      );
      expect(await state()).toEqual(before);
      expect(removeState(netns, { memory })).toEqual([]);
    } finally {
      writeSysctl(netns, 'net.ipv4.fwmark_reflect', '0');
    }
  });

  it('is removed even if nobody remembers it', async () => {
    const { memory } = ensured();
    // The next process has no memory of it.
    const next = ensured();
    expect(next).toMatchObject({ changed: [], memory });
    removeState(netns, {});
    expect(await state()).toEqual(pristine);
  });

  it('leaves a sysctl alone that somebody changed again', () => {
    const { memory } = ensured();
    writeSysctl(netns, 'net.ipv4.fwmark_reflect', '0');
    expect(removeState(netns, { memory })).not.toContain('net.ipv4.fwmark_reflect');
  });

  it('is limited to IPv4 by its option, even later', async () => {
    expect(ensured({ ipv6: false }).changed).toEqual(EVERYTHING.filter((part) => !IPV6_PARTS.includes(part)));
    expect(missing(false)).toEqual([]);
    expect(missing().toSorted()).toEqual(IPV6_PARTS.toSorted());
    await applicationSeesClient(4);
    const { memory } = ensured();
    expect(missing()).toEqual([]);
    const back = ensured({ ipv6: false, memory });
    expect(back.changed.toSorted()).toEqual(IPV6_PARTS.toSorted());
    expect(back.memory.sysctls).not.toHaveProperty(['net.ipv6.fwmark_reflect']);
    removeState(netns, { memory: back.memory });
  });

  it('is limited to IPv4 if the loopback has no IPv6', async () => {
    writeSysctl(netns, 'net.ipv6.conf.lo.disable_ipv6', '1');
    try {
      const { memory } = ensured();
      expect(missing()).toEqual([]);
      await applicationSeesClient(4);
      removeState(netns, { memory });
    } finally {
      writeSysctl(netns, 'net.ipv6.conf.lo.disable_ipv6', '0');
    }
  });

  function conflictOf(body: () => unknown): PlumbingConflict {
    try {
      body();
    } catch (error) {
      expect(error).toBeInstanceOf(PlumbingConflict);
      return error as PlumbingConflict;
    }
    throw new Error('it did not fail');
  }

  it('names a foreign rule or route in its place, and leaves that alone', async () => {
    addRule(netns, { family: 4, priority: 32764, table: 7, fwmark: { value: 1, mask: 1 } });
    const rule = conflictOf(ensured);
    expect(rule).toMatchObject({ _tag: 'PlumbingConflict', part: 'rule' });
    expect(rule.message).toContain('"priority 32764 fwmark 0x1/0x1 lookup 7"');
    expect(rule.message).toContain(pod.path);
    await pod.ip('rule del priority 32764');

    addRoute(netns, { family: 6, table: 100, type: 'unicast', destination: 'fd66:99::/64', interface: 'eth0' });
    const route = conflictOf(ensured);
    expect(route).toMatchObject({ part: 'route' });
    expect(route.message).toContain('the IPv6 route "unicast fd66:99::/64 dev eth0 table 100"');
    // It does not concern IPv4.
    ensured({ ipv6: false });
    removeState(netns, {});
    await pod.run('ip -6 route flush table 100'.split(' '));
  });

  it('fails while the loopback is down', async () => {
    await pod.ip('link set lo down');
    try {
      expect(conflictOf(ensured)).toMatchObject({ part: 'loopback' });
    } finally {
      await pod.ip('link set lo up');
    }
    ensured();
    for (const family of FAMILIES) await applicationSeesClient(family);
  });

  it('fails with the path of what it was given wrong', () => {
    expect(() => ensureState(netns, wanted(), { procPath: '/nowhere' })).toThrow(
      `open ${pod.path} (/nowhere/sys/net/ipv4/tcp_fwmark_accept): ENOENT`,
    );
  });
});
