// Every kind of connect() through the real programs: where it lands, what ztunnel reads, what the application sees.
import { endpoint, requires, type DialMethod, type HostProcess, type Pod, type StandInZtunnel } from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MeshedNode } from './meshed-node.js';

// Pods as plain processes, and as real containers made by runc in a pure-v2 view of the machine.
const RUNTIMES = [
  { runtime: 'direct', need: requires('root', 'bpf', 'cgroup2', 'netns') },
  { runtime: 'runc', need: requires('root', 'bpf', 'cgroup2', 'netns', 'runc', 'busybox') },
] as const;

for (const { runtime, need } of RUNTIMES) {
  describe.skipIf(need.skip)(`connections of ${runtime} pods${need.label}`, () => {
    let mesh: MeshedNode;
    let ztunnel: StandInZtunnel;
    let meshed: Pod;
    let neighbour: Pod;
    let outsider: Pod;
    let host: HostProcess;
    let kubelet: HostProcess;
    let remote: { ip4: string; ip6: string };

    beforeAll(async () => {
      mesh = await MeshedNode.create();
      ztunnel = await mesh.node.ztunnel({ runtime });
      meshed = await mesh.node.pod({ name: 'meshed', namespace: 'shop', serve: [80, 5432], runtime });
      neighbour = await mesh.node.pod({
        name: 'neighbour',
        namespace: 'shop',
        serve: [80],
        cgroupStyle: 'systemd',
        runtime,
      });
      outsider = await mesh.node.pod({ name: 'outsider', namespace: 'other', serve: [80], runtime });
      host = await mesh.node.hostProcess();
      kubelet = await mesh.node.kubelet();
      remote = mesh.node.remote;
      mesh.setZtunnel(ztunnel);
      mesh.setKubelet(kubelet);
      mesh.enrol(meshed);
      mesh.enrol(neighbour);
      mesh.rules.push({
        kind: 'port',
        workload: meshed.cgroup.id,
        direction: 'outbound',
        action: 'exclude',
        port: 443,
      });
      mesh.rules.push({ kind: 'cidr', workload: meshed.cgroup.id, action: 'exclude', cidr: '10.66.1.3/32' });
      mesh.apply();
    });
    afterAll(async () => mesh?.close());

    const redirected = { by: 'ztunnel', port: 15001 };

    it.each(['IPv4', 'IPv6', 'v4-mapped'] as const)('a meshed pod to another node, %s', async (family) => {
      const ip = family === 'IPv6' ? remote.ip6 : remote.ip4;
      const to = family === 'v4-mapped' ? `[::ffff:${ip}]:80` : endpoint(ip, 80);
      const result = await meshed.dial(to);
      expect(result).toMatchObject({ ok: true, peername: to });
      expect(result.hops[0]).toMatchObject({
        ...redirected,
        originalDst: endpoint(ip, 80),
        originalDstFrom: family === 'IPv6' ? 'SOL_IPV6' : 'SOL_IP',
        peer: expect.stringContaining(family === 'IPv6' ? meshed.ip6 : meshed.ip4),
      });
      expect(result.hops[1]).toMatchObject({ by: 'remote', local: endpoint(ip, 80) });
    });

    it.each<DialMethod>(['plain', 'nonblock', 'fastopen', 'fastopen-connect', 'iouring'])(
      'is redirected however it connects: %s',
      async (method) => {
        for (const ip of [remote.ip4, remote.ip6]) {
          const result = await meshed.dial(endpoint(ip, 80), { method });
          expect(result).toMatchObject({ ok: true, error: '', peername: endpoint(ip, 80) });
          expect(result.hops.map(({ by }) => by)).toEqual(['ztunnel', 'remote']);
          expect(result.hops[0]).toMatchObject({ ...redirected, originalDst: endpoint(ip, 80) });
        }
      },
    );

    it('redirects an MPTCP socket, whose getpeername() the kernel does not let us answer', async () => {
      const result = await meshed.dial(endpoint(remote.ip4, 80), { method: 'mptcp' });
      expect(result).toMatchObject({ ok: true });
      expect(result.hops[0]).toMatchObject({ ...redirected, originalDst: endpoint(remote.ip4, 80) });
      expect(result.peername).toBe(endpoint(ztunnel.ip4, 15001));
    });

    it('leaves UDP alone', async () => {
      const result = await meshed.dial(endpoint(remote.ip4, 80), { method: 'udp' });
      expect(result).toMatchObject({ ok: true, peername: endpoint(remote.ip4, 80) });
    });

    it('redirects a socket that was bound before, and keeps the port that it was bound to', async () => {
      const result = await meshed.dial(endpoint(remote.ip4, 80), { bind: endpoint(meshed.ip4, 23456) });
      expect(result).toMatchObject({ ok: true, sockname: endpoint(meshed.ip4, 23456) });
      expect(result.hops[0]).toMatchObject({ ...redirected, peer: endpoint(meshed.ip4, 23456) });
    });

    it('remembers nothing of a first connect() when the socket connects again', async () => {
      // Nothing listens on port 81 of the loopback: the first dial is refused there, the second is redirected.
      const later = await meshed.dial('127.0.0.1:81', { second: endpoint(remote.ip4, 80) });
      expect(later).toMatchObject({ ok: false, error: 'ECONNREFUSED' });
      expect(later.second).toMatchObject({ ok: true, peername: endpoint(remote.ip4, 80) });
      expect(later.second?.hops[0]).toMatchObject({ ...redirected, originalDst: endpoint(remote.ip4, 80) });
      // The other way round, redirected first and then to the loopback: the application must see the loopback.
      await ztunnel.stop();
      const first = await meshed.dial(endpoint(remote.ip4, 80), { second: '127.0.0.1:80' });
      await ztunnel.start();
      expect(first).toMatchObject({ ok: false, error: 'ECONNREFUSED' });
      expect(first.second).toMatchObject({ ok: true, peername: '127.0.0.1:80' });
      expect(first.second?.hops[0]).toMatchObject({ by: 'shop/meshed', local: '127.0.0.1:80' });
    });

    it.each([
      ['its own loopback', () => '127.0.0.1:80'],
      ['its own loopback, IPv6', () => '[::1]:80'],
      ['its own loopback, v4-mapped', () => '[::ffff:127.0.0.1]:80'],
      ['the unspecified address', () => '0.0.0.0:80'],
      ['its own IP', () => endpoint(meshed.ip4, 80)],
      ['its own IP, IPv6', () => endpoint(meshed.ip6, 80)],
      ['its own IP, v4-mapped', () => `[::ffff:${meshed.ip4}]:80`],
    ])('a meshed pod reaches itself directly: %s', async (_what, to) => {
      const result = await meshed.dial(to());
      expect(result).toMatchObject({ ok: true });
      expect(result.hops.map(({ by }) => by)).toEqual(['shop/meshed']);
    });

    it('a meshed pod reaches an excluded port and an excluded range directly, another pod does not', async () => {
      for (const to of [endpoint(remote.ip4, 443), endpoint(remote.ip6, 443), '10.66.1.3:80']) {
        expect((await meshed.dial(to)).hops.map(({ by }) => by)).toEqual(['remote']);
        expect((await neighbour.dial(to)).hops.map(({ by }) => by)).toEqual(['ztunnel', 'remote']);
      }
    });

    it('a meshed pod to a meshed pod of the same node', async () => {
      const result = await meshed.dial(endpoint(neighbour.ip4, 80));
      expect(result.hops).toMatchObject([redirected, { by: 'shop/neighbour', local: endpoint(neighbour.ip4, 80) }]);
    });

    it('an unmeshed pod goes where it dials', async () => {
      for (const ip of [remote.ip4, remote.ip6]) {
        const result = await outsider.dial(endpoint(ip, 80));
        expect(result.hops.map(({ by }) => by)).toEqual(['remote']);
      }
    });

    it.each(['an unmeshed pod', 'a host process'] as const)('%s to a meshed pod lands on 15006', async (who) => {
      const caller = who === 'a host process' ? host : outsider;
      for (const ip of meshed.ips) {
        const result = await caller.dial(endpoint(ip, 80));
        expect(result).toMatchObject({ ok: true, peername: endpoint(ip, 80) });
        expect(result.hops).toMatchObject([
          { by: 'ztunnel', port: 15006, originalDst: endpoint(ip, 80) },
          { by: 'shop/meshed', local: endpoint(ip, 80) },
        ]);
      }
    });

    it("the kubelet's probes reach a meshed pod directly", async () => {
      for (const ip of meshed.ips) {
        const result = await kubelet.dial(endpoint(ip, 80));
        expect(result.hops).toMatchObject([
          { by: 'shop/meshed', peer: expect.stringContaining(ip.includes(':') ? mesh.node.ip6 : mesh.node.ip4) },
        ]);
      }
    });

    it('a container that starts later is in the mesh from its first connect()', async () => {
      const late = await meshed.startContainer('late');
      const result = await late.dial(endpoint(remote.ip4, 80));
      expect(result.hops[0]).toMatchObject(redirected);
    });

    it('refuses while no ztunnel is known, or lets through where so configured', async () => {
      const { settings } = mesh;
      mesh.settings = { ...settings, ztunnelIPv4: undefined };
      mesh.apply();
      expect(await meshed.dial(endpoint(remote.ip4, 80))).toMatchObject({ ok: false, error: 'ECONNREFUSED' });
      expect(await host.dial(endpoint(meshed.ip4, 80))).toMatchObject({ ok: false, error: 'ECONNREFUSED' });
      // The other family still has its ztunnel.
      expect((await meshed.dial(endpoint(remote.ip6, 80))).hops[0]).toMatchObject(redirected);
      mesh.settings = { ...settings, ztunnelIPv4: undefined, noZtunnel: 'open' };
      mesh.apply();
      expect((await meshed.dial(endpoint(remote.ip4, 80))).hops.map(({ by }) => by)).toEqual(['remote']);
      mesh.settings = settings;
      mesh.apply();
    });

    it("answers only ztunnel's own connections: a direct dial to 15001 has no original destination", async () => {
      const before = mesh.datapath.counters().events['origin-missing'];
      const result = await outsider.dial(endpoint(ztunnel.ip4, 15001));
      expect(result.hops).toMatchObject([{ originalDstFrom: 'local' }, { error: 'self-call' }]);
      expect(mesh.datapath.counters().events['origin-missing']).toBe(before + 1n);
    });

    it('leaves no hand-off behind when nothing is being connected', async () => {
      await ztunnel.stop();
      expect(await meshed.dial(endpoint(remote.ip4, 80))).toMatchObject({ error: 'ECONNREFUSED' });
      expect(await meshed.dial(endpoint(remote.ip6, 80))).toMatchObject({ error: 'ECONNREFUSED' });
      await ztunnel.start();
      expect(mesh.handoffs()).toBe(0);
    });
  });
}
