// The connections of inPod mode: every kind of connect(), pods with one family only, connections that are older, and
// many at once.
import { execFileSync } from 'node:child_process';
import {
  Cgroup,
  endpoint,
  enterCommand,
  LineProcess,
  peerProgram,
  requires,
  type DialMethod,
  type DialResult,
  type Pod,
} from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { InPodNode } from './in-pod-node.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'iptables');
const CONNECTIONS = 10_000;

describe.skipIf(need.skip)(`connections of pods with their own ztunnel${need.label}`, () => {
  let node: InPodNode;
  let meshed: Pod;
  let neighbour: Pod;
  let remote: { ip4: string; ip6: string };
  const redirected = { by: 'ztunnel', port: 15001 };

  beforeAll(async () => {
    node = await InPodNode.create();
    meshed = await node.pod({ name: 'meshed', namespace: 'shop', serve: [80] });
    neighbour = await node.pod({ name: 'neighbour', namespace: 'shop', serve: [80], cgroupStyle: 'systemd' });
    remote = node.mesh.node.remote;
    const workload = meshed.cgroup.id;
    node.mesh.rules.push({ kind: 'port', workload, direction: 'outbound', action: 'exclude', port: 443 });
    node.mesh.settings = { ...node.mesh.settings, sampleEvery: 0 };
    node.mesh.apply();
  });
  afterAll(async () => node?.close());

  it.each<DialMethod>(['plain', 'nonblock', 'fastopen', 'fastopen-connect', 'iouring'])(
    'are redirected however they are made: %s',
    async (method) => {
      for (const to of [endpoint(remote.ip4, 80), endpoint(remote.ip6, 80), `[::ffff:${remote.ip4}]:80`]) {
        const result = await meshed.dial(to, { method });
        expect(result).toMatchObject({ ok: true, error: '', peername: to });
        expect(result.hops.map(({ by }) => by)).toEqual(['ztunnel', 'remote']);
        expect(result.hops[0]).toMatchObject({ ...redirected, pod: meshed.uid });
      }
    },
  );

  it('of an MPTCP socket are redirected, of UDP are not', async () => {
    const to = endpoint(remote.ip4, 80);
    const mptcp = await meshed.dial(to, { method: 'mptcp' });
    expect(mptcp.hops[0]).toMatchObject({ ...redirected, originalDst: to });
    expect(await meshed.dial(to, { method: 'udp' })).toMatchObject({ ok: true, peername: to });
  });

  it('of a socket that was bound before, and of one that connects again', async () => {
    const to = endpoint(remote.ip4, 80);
    const bound = await meshed.dial(to, { bind: endpoint(meshed.ip4, 23_456) });
    expect(bound.hops[0]).toMatchObject({ ...redirected, peer: endpoint(meshed.ip4, 23_456), originalDst: to });
    const again = await meshed.dial('127.0.0.1:81', { second: to });
    expect(again).toMatchObject({ ok: false, error: 'ECONNREFUSED' });
    expect(again.second?.hops[0]).toMatchObject({ ...redirected, originalDst: to });
  });

  it.each([
    ['its own loopback', () => '127.0.0.1:80'],
    ['its own loopback, IPv6', () => '[::1]:80'],
    ['the unspecified address', () => '0.0.0.0:80'],
    ['its own IP', () => endpoint(meshed.ip4, 80)],
    ['its own IP, IPv6', () => endpoint(meshed.ip6, 80)],
    ['its own IP, v4-mapped', () => `[::ffff:${meshed.ip4}]:80`],
  ])('of a pod to itself are direct: %s', async (_what, to) => {
    expect((await meshed.dial(to())).hops.map(({ by }) => by)).toEqual(['shop/meshed']);
  });

  it('to an excluded port are direct, and of another pod are not', async () => {
    const to = endpoint(remote.ip4, 443);
    expect((await meshed.dial(to)).hops.map(({ by }) => by)).toEqual(['remote']);
    expect((await neighbour.dial(to)).hops.map(({ by }) => by)).toEqual(['ztunnel', 'remote']);
  });

  it('of a container that starts later, of a nested cgroup, and of a process that entered the pod, are redirected', async () => {
    const to = endpoint(remote.ip4, 80);
    const late = await meshed.startContainer('late');
    expect((await late.dial(to)).hops[0]).toMatchObject(redirected);
    const nested = new Cgroup(`${meshed.app.place.cgroup}/nested`);
    const command = enterCommand({ cgroup: nested.path, netns: meshed.netns }, [peerProgram(), 'dial', '--to', to]);
    const deep = await LineProcess.start(command);
    expect((JSON.parse(await deep.nextLine()) as DialResult).hops[0]).toMatchObject(redirected);
    const entered = await node.mesh.node.nsenter(meshed);
    expect((await entered.dial(to)).hops[0]).toMatchObject(redirected);
  });

  it('of a process that is not ztunnel are redirected although it sets ztunnel’s mark', async () => {
    const to = endpoint(remote.ip4, 80);
    expect((await meshed.dial(to, { mark: 0x539 })).hops[0]).toMatchObject({ ...redirected, originalDst: to });
  });

  it.each([4, 6] as const)('of a pod with IPv%d only', async (family) => {
    const single = await node.pod({ name: `only-${family}`, namespace: 'shop', serve: [80], families: [family] });
    const [ip, to] = family === 4 ? [single.ip4, remote.ip4] : [single.ip6, remote.ip6];
    expect((await single.dial(endpoint(to, 80))).hops[0]).toMatchObject({
      ...redirected,
      originalDst: endpoint(to, 80),
    });
    const inbound = await node.mesh.node.remote.dial(endpoint(ip, 80));
    expect(inbound.hops).toMatchObject([
      { by: 'ztunnel', originalDst: endpoint(ip, 80) },
      { by: `shop/only-${family}` },
    ]);
    await single.delete();
  });

  it('that are older go on, in both directions', async () => {
    const late = await node.mesh.node.pod({ name: 'late', namespace: 'shop' });
    await late.serve([81], { echo: true });
    const echo = await neighbour.serve([82], { echo: true });
    const streams = [
      await late.stream(endpoint(neighbour.ip4, 82)),
      await node.mesh.node.remote.stream(endpoint(late.ip4, 81)),
    ];
    for (const stream of streams) await stream.progress(1);
    node.enrol(late);
    await node.serve(late);
    for (const stream of streams) {
      await stream.progress(3);
      expect(await stream.stop()).toMatchObject({ broken: '' });
    }
    // New ones are captured.
    expect((await late.dial(endpoint(remote.ip4, 80))).hops[0]).toMatchObject(redirected);
    await echo.stop();
    await late.delete();
  });

  it(`${CONNECTIONS} out of a pod, half of them redirected, without one wrong original destination`, async () => {
    const { ip4, ip6 } = remote;
    const targets = [endpoint(ip4, 80), endpoint(ip4, 443), endpoint(ip4, 8080), endpoint('10.66.1.3', 443)];
    const targets6 = [endpoint(ip6, 80), endpoint(ip6, 443), `[::ffff:${ip4}]:80`, `[::ffff:${ip4}]:443`];
    const count = CONNECTIONS / 2;
    // ztunnel dials from the same namespace, by ports that the kernel chooses (net.ipv4.ip_local_port_range, from 32768 on).
    const ports = [20_000, 20_039] as const;
    for (const list of [targets, targets6]) {
      const summary = await meshed.dialSourcePorts({ targets: list, ports, count });
      expect(summary).toEqual({ count, ok: count, redirected: count / 2, wrongCount: 0, wrong: [] });
    }
    expect(node.mesh.handoffs()).toBe(0);
  });

  it(`${CONNECTIONS} into two pods, on many ports, without one wrong original destination`, async () => {
    const ports = Array.from({ length: 20 }, (_, n) => 9000 + n * 7);
    for (const pod of [meshed, neighbour]) await pod.serve(ports);
    const targets = ports.flatMap((port) => [meshed, neighbour].map(({ ip4 }) => endpoint(ip4, port)));
    const to = targets.flatMap((target) => ['--to', target]);
    const campaign = await node.mesh.node.remote.exec([
      'dial',
      ...to,
      '--source-ports',
      '20000-39999',
      '--count',
      String(CONNECTIONS),
    ]);
    const summary: unknown = JSON.parse(await campaign.nextLine());
    expect(summary).toEqual({
      count: CONNECTIONS,
      ok: CONNECTIONS,
      redirected: CONNECTIONS,
      wrongCount: 0,
      wrong: [],
    });
    await expect.poll(() => node.exemptTuples()).toBe(0);
  });

  it('leave no trace in a packet filter: no rule, no tracked connection', () => {
    for (const netns of [meshed.netns, neighbour.netns, node.mesh.node.netns.path]) {
      const inside = (file: string): string =>
        execFileSync('nsenter', [`--net=${netns}`, 'sh', '-c', `cat /proc/net/${file} 2>/dev/null || true`], {
          encoding: 'utf8',
        });
      // /proc/self/net belongs to the namespace of the process that reads it.
      for (const file of ['nf_conntrack', 'ip_tables_names', 'ip6_tables_names']) expect(inside(file)).toBe('');
      // For nftables: these print the tables that they know, and name those that they do not.
      for (const save of ['iptables-nft-save', 'ip6tables-nft-save'])
        expect(execFileSync('nsenter', [`--net=${netns}`, save], { encoding: 'utf8' })).toBe('');
    }
  });
});
