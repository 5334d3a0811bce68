// What somebody takes away from a node while the agent runs is put back within a pass; until then the agent is not ready and says so.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, renameSync, rmSync, symlinkSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { attachCgroupExclusively, BpfLink, BpfMap, detachCgroup, openObject, queryCgroup } from '@sluice/libbpf';
import { connectSeqpacket, listenSeqpacket, Netns, writeSysctl } from '@sluice/linux';
import { endpoint, requires, runToEnd, type DialResult, type Load, type Pod } from '@sluice/testbed';
import { describe, expect, it } from 'vitest';
import { netnsPins } from './in-pod-traces.js';
import { NodeAgent } from './node-agent.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
const ambient = { 'istio.io/dataplane-mode': 'ambient' };
const OBJECT = fileURLToPath(new URL('../../datapath/dist/sluice.bpf.o', import.meta.url));
const wayOf = (result: DialResult): string => (result.ok ? result.hops.map(({ by }) => by).join(' > ') : result.error);

/** A fault of each kind, by the kind under which it is counted. */
interface Fault {
  readonly kind: string;
  readonly name: string;
  /**
   * Whether connections may go past the mesh until it is put back, because nothing on the node could hold them, or break: what answers
   * ztunnel without its way back leaves for the client, whose refusal ends it.
   */
  readonly breaks: boolean;
  readonly make: (at: Places) => Promise<unknown> | void;
}
interface Places {
  readonly host: NodeAgent;
  readonly pod: Pod;
  readonly links: string;
  readonly netnsLink: string;
}

const detach = (pin: string): void => {
  using link = BpfLink.openPinned(pin);
  link.detach();
};
const inPod = (pod: Pod, ...argv: string[]): Promise<unknown> => runToEnd(['nsenter', `--net=${pod.netns}`, ...argv]);
const linkOf = ({ host, links }: Places, program: string): string => {
  const { id } = host.node.cgroup.child('kubepods');
  return join(links, `${program}-${id}`);
};

const faults: readonly Fault[] = [
  { kind: 'program', name: 'connect detached', breaks: true, make: (at) => detach(linkOf(at, 'sluice_connect4')) },
  {
    kind: 'pin',
    name: 'connect unpinned',
    breaks: false,
    make: (at) => unlinkSync(linkOf(at, 'sluice_connect4')),
  },
  { kind: 'inbound', name: 'sk_lookup detached', breaks: true, make: ({ netnsLink }) => detach(netnsLink) },
  { kind: 'pin', name: 'sk_lookup unpinned', breaks: false, make: ({ netnsLink }) => unlinkSync(netnsLink) },
  {
    kind: 'replaced',
    name: 'another program in the place of connect',
    breaks: true,
    make: (at) => {
      using other = openObject(OBJECT);
      other.load();
      using link = BpfLink.openPinned(linkOf(at, 'sluice_connect4'));
      link.update(other.program('sluice_connect4'));
    },
  },
  {
    kind: 'pin',
    name: 'maps unpinned',
    breaks: false,
    make: ({ links }) => {
      const maps = join(links, '../maps');
      for (const name of readdirSync(maps)) unlinkSync(join(maps, name));
    },
  },
  {
    kind: 'pin',
    name: 'everything unpinned',
    breaks: false,
    make: ({ links }) => rmSync(join(links, '..'), { recursive: true, force: true }),
  },
  {
    kind: 'holder',
    name: 'the socket that holds connections',
    breaks: false,
    make: ({ links }) => {
      using listeners = BpfMap.openPinned(join(links, '../maps/listeners'));
      // HOLDING_NETNS and HOLDING_PORT of bpf/maps.h.
      expect(listeners.delete(Buffer.alloc(listeners.keySize))).toBe(true);
    },
  },
  {
    kind: 'rule',
    name: 'the rule of answers',
    breaks: true,
    make: ({ pod }) => inPod(pod, 'ip', 'rule', 'del', 'priority', '32764'),
  },
  {
    kind: 'route',
    name: 'the table of answers',
    breaks: true,
    make: ({ pod }) => inPod(pod, 'ip', 'route', 'flush', 'table', '100'),
  },
  {
    kind: 'sysctl',
    name: 'a sysctl',
    breaks: true,
    make: ({ pod }) => {
      using netns = Netns.open(pod.netns);
      writeSysctl(netns, 'net.ipv4.tcp_fwmark_accept', '0');
    },
  },
];

describe.skipIf(need.skip)(`what is taken away while the agent runs${need.label}`, () => {
  /** A pod in the mesh. The timer never helps. */
  async function served(settings: Record<string, unknown> = {}): Promise<Places & AsyncDisposable> {
    const host = await NodeAgent.createInPod({ resyncInterval: '1h', metrics: { listen: '127.0.0.1:0' }, ...settings });
    host.node.kubernetes.setNamespace('shop', ambient);
    await host.node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket });
    const pod = await host.node.pod({ namespace: 'shop', name: 'cart', serve: [8080] });
    await host.agent.start();
    await host.becomes('cart', 'in');
    const links = join(host.bpffs, 'sluice/links');
    const netnsLink = join(links, netnsPins(host.bpffs)[0] ?? '');
    return { host, pod, links, netnsLink, [Symbol.asyncDispose]: () => host[Symbol.asyncDispose]() };
  }
  const outside = ({ host }: Places): string => endpoint(host.node.remote.ip4, 80);
  const loads = async (at: Places): Promise<Load[]> => [
    await at.pod.load([outside(at)]),
    await at.host.node.remote.load([endpoint(at.pod.ip4, 8080)]),
  ];
  const inTheMesh = async (at: Places): Promise<void> => {
    expect(wayOf(await at.pod.dial(outside(at)))).toBe('ztunnel > remote');
    expect(wayOf(await at.host.node.remote.dial(endpoint(at.pod.ip4, 8080)))).toBe('ztunnel > shop/cart');
    const under = await loads(at);
    for (const load of under) {
      await load.progress(2);
      const summary = await load.stop();
      expect(summary).toMatchObject({ refused: 0, direct: 0, errors: 0, redirected: summary.attempts });
    }
  };
  const repairs = async ({ host }: Places, kind: string): Promise<number> => {
    const { body } = await host.get('/metrics');
    return Number(new RegExp(`^sluice_repairs_total{kind="${kind}"} (\\d+)`, 'm').exec(body)?.[1] ?? 0);
  };

  it('is put back, each by itself, counted and logged, and nothing is direct afterwards', async () => {
    await using at = await served();
    for (const { kind, name, breaks, make } of shuffled(faults)) {
      const before = await repairs(at, kind);
      const under = breaks ? [] : await loads(at);
      await make(at);
      await expect.poll(() => repairs(at, kind), { message: name }).toBeGreaterThan(before);
      await expect.poll(async () => (await at.host.get('/readyz')).status, { message: name }).toBe(200);
      for (const load of under) {
        await load.progress(2);
        expect(await load.stop(), name).toMatchObject({ direct: 0 });
      }
      await inTheMesh(at);
      expect(at.host.workload('cart')?.state, name).toBe('in');
    }
    const said = at.host.log.filter((line) => line.includes('put back what was missing'));
    for (const { kind } of faults) expect(said.join('\n')).toContain(`"kind":"${kind}"`);
    expect(queryCgroup(at.host.node.cgroup.child('kubepods').path, 'cgroup_inet4_connect').programs).toHaveLength(1);
    await at.host.agent.stop();
  });

  it('is put back, all at once and again and again', async () => {
    await using at = await served();
    for (let round = 0; round < 10; round++) {
      for (const { make } of shuffled(faults)) {
        try {
          await make(at);
        } catch {
          // An earlier one has taken away what this one needs, or the agent has not put it back yet.
        }
      }
      await expect.poll(async () => (await at.host.get('/readyz')).status).toBe(200);
      // A connection that is made before that may wait for an answer that has left the pod.
      await at.host.agrees();
      await expect.poll(async () => wayOf(await at.pod.dial(outside(at)))).toBe('ztunnel > remote');
      await expect
        .poll(async () => wayOf(await at.host.node.remote.dial(endpoint(at.pod.ip4, 8080))))
        .toBe('ztunnel > shop/cart');
    }
    await expect.poll(async () => (await at.host.get('/metrics')).body).toMatch(/^sluice_missing{kind="program"} 0$/m);
    await at.host.agent.stop();
  });

  it('and cannot be pinned: passes fail, which readiness and the status say, and go on when it can be', async () => {
    await using at = await served();
    const { host, links } = at;
    rmSync(links, { recursive: true });
    // No directory can be made there.
    symlinkSync('nowhere', links);
    await expect.poll(async () => (await host.get('/readyz')).body).toMatch(/reconciliation fails/);
    await expect.poll(() => host.status().state.problems.join()).toMatch(/reconciliation fails/);
    await inTheMesh(at);
    unlinkSync(links);
    await expect.poll(async () => (await host.get('/readyz')).status).toBe(200);
    await host.agrees();
    expect(host.status().state.problems).toEqual([]);
    await host.agent.stop();
  });

  it('the ZDS socket: while another is in its place the agent says so, and when none is there it listens again', async () => {
    await using at = await served();
    const { host } = at;
    const { zdsSocket } = host;
    const ready = async (): Promise<number | undefined> => (await host.get('/readyz')).status;
    // A server at another path comes to this one, as when istio-cni starts.
    using stranger = listenSeqpacket(`${zdsSocket}.other`);
    renameSync(stranger.path, zdsSocket);
    await expect.poll(ready).toBe(503);
    expect((await host.get('/readyz')).body).toMatch(
      /something else is at the ZDS socket .*, so that a ztunnel that starts does not reach the agent; remove/,
    );
    await expect.poll(() => host.status().state.problems.join()).toMatch(/something else is at the ZDS socket/);
    // The ztunnel that is connected is still told of pods.
    await host.node.pod({ namespace: 'shop', name: 'meanwhile' });
    await host.becomes('meanwhile', 'in');
    expect(await repairs(at, 'zds-socket')).toBe(0);

    unlinkSync(zdsSocket);
    await expect.poll(() => repairs(at, 'zds-socket')).toBe(1);
    await expect.poll(ready).toBe(200);
    await expect.poll(() => host.status().state.problems).toEqual([]);
    connectSeqpacket(zdsSocket).close();
    await expect.poll(() => host.log.join('\n')).toContain('a connection to the ZDS socket was refused');
    await host.node.pod({ namespace: 'shop', name: 'later' });
    await host.becomes('later', 'in');
    expect(host.log.join('\n')).not.toContain('ztunnel disconnected');
    await inTheMesh(at);
    await host.agent.stop();
    expect(existsSync(zdsSocket)).toBe(false);
  });

  it('with the BPF file system: nothing is direct, the agent is not ready and says why, and pins everything when there is one', async () => {
    await using at = await served();
    const { host } = at;
    const under = await loads(at);
    const { guard } = host.status().state;
    execFileSync('umount', [host.bpffs]);
    await expect.poll(async () => (await host.get('/readyz')).status).toBe(503);
    expect((await host.get('/readyz')).body).toMatch(
      /in force only in part: no BPF file system is mounted for .*; mount one/,
    );
    await expect
      .poll(async () => (await host.get('/readyz')).body)
      .toMatch(/the guard cannot be put back: no BPF file system is mounted/);
    await expect.poll(() => host.status().state.problems.join()).toMatch(/no BPF file system is mounted/);
    expect((await host.get('/metrics')).body).toMatch(/^sluice_missing{kind="bpffs"} 1$/m);
    // A pod that comes meanwhile is in the mesh as well.
    const later = await host.node.pod({ namespace: 'shop', name: 'later', serve: [8080] });
    await host.becomes('later', 'in');
    expect(wayOf(await later.dial(outside(at)))).toBe('ztunnel > remote');
    expect(wayOf(await host.node.remote.dial(endpoint(later.ip4, 8080)))).toBe('ztunnel > shop/later');
    execFileSync('mount', ['-t', 'bpf', 'bpf', host.bpffs]);
    await expect.poll(async () => (await host.get('/readyz')).status).toBe(200);
    expect(netnsPins(host.bpffs)).toHaveLength(2);
    await expect.poll(() => host.status().state.guard).toEqual(guard);
    expect(guard).toContain('cgroup_mkdir');
    // The next agent has to find it.
    await host.agent.kill9();
    expect(wayOf(await at.pod.dial(outside(at)))).toBe('ztunnel > remote');
    await host.agent.start();
    for (const load of under) {
      await load.progress(2);
      const summary = await load.stop();
      expect(summary).toMatchObject({ refused: 0, direct: 0, errors: 0, redirected: summary.attempts });
    }
    await host.agent.stop();
  });

  it('and cannot be put back: its pods are pending, and it is back when it can be', async () => {
    await using at = await served();
    const { host } = at;
    const kubepods = host.node.cgroup.child('kubepods').path;
    using foreign = openObject(OBJECT);
    foreign.load();
    const program = foreign.program('sluice_connect4');
    host.agent.process.signal('SIGSTOP');
    detach(linkOf(at, 'sluice_connect4'));
    attachCgroupExclusively(program, kubepods);
    host.agent.process.signal('SIGCONT');
    const pending = await host.becomes('cart', 'pending');
    expect(pending?.reason).toMatch(
      /^pending: sluice_connect4 is not attached to .*kubepods: somebody has taken it away/,
    );
    expect((await host.get('/readyz')).body).toMatch(/sluice_connect4 is not attached to /);
    expect(host.status().state.problems.join('\n')).toMatch(/sluice_connect4 could not be attached to /);
    detachCgroup(program, kubepods);
    await host.becomes('cart', 'in');
    await expect.poll(async () => (await host.get('/readyz')).status).toBe(200);
    await inTheMesh(at);
    await host.agent.stop();
  });
});

function shuffled<T>(items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, key: Math.random() }))
    .toSorted((a, b) => a.key - b.key)
    .map(({ item }) => item);
}
