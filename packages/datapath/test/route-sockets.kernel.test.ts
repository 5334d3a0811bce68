// Capture by route, whatever the application's socket is like: how it connects, what it is bound to, which mark it has.
// Everything gets to ztunnel with the destination that was dialled, or fails; nothing goes past it.
import { Netns, writeSysctl } from '@sluice/linux';
import { endpoint, requires, type DialMethod, type DialOptions, type DialResult, type Pod } from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { attachPlan, type Place } from '../src/index.js';
import { CaptureMark } from '../src/generated/maps.js';
import { InPodNode } from './in-pod-node.js';
import { addressOf, FAMILIES, segmentsReceived, type Family } from './route-cases.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');
const EXCLUDED_PORT = 443;
const LOOPBACK = { ip4: ['127.0.0.1', '0.0.0.0'], ip6: ['::1', '::'] };
/** A pod of the other node, and a destination that nobody has. */
const NOWHERE = { ip4: '203.0.113.9', ip6: '2001:db8::9' };
/** As the pod would have it without a mesh: what it sets, and never our bit. */
const ownBits = ({ mark }: { mark: number }): number => mark & ~CaptureMark.ROUTE_MARK;

describe.skipIf(need.skip)(`sockets of a pod that is captured by route${need.label}`, () => {
  let node: InPodNode;
  let pod: Pod;
  /** Not in the mesh. */
  let plain: Pod;
  /** What its second device has. */
  let net1: Record<Family, string | undefined>;
  let hosts: Record<Family, readonly [string, string]>;

  beforeAll(async () => {
    node = await InPodNode.create({ capture: 'route' });
    const testbed = node.mesh.node;
    // No hook answers for the kernel: there is none but connect and bind.
    const place = ({ path, id }: Place): Place => ({ path, id });
    const plan = attachPlan({
      mode: 'inPod',
      root: place(testbed.cgroup),
      podsParents: [place(testbed.cgroup.child('kubepods'))],
      kubelets: [],
      ztunnels: [place(node.ztunnel.pod.cgroup)],
      rewritten: [],
      held: [],
      refused: [],
      capturesDns: false,
      probesFromHost: false,
      ztunnelByMark: false,
    });
    expect(node.mesh.datapath.activate(plan).failures).toEqual([]);
    expect([...plan.keys()].filter((program) => program.includes('name'))).toEqual([]);
    pod = await node.pod({ name: 'a', serve: [8080] });
    net1 = await pod.addDevice('net1');
    node.enrol(pod);
    for (const ip of [net1.ip4, net1.ip6]) if (ip !== undefined) node.own(pod, ip);
    await pod.addDevice('net2');
    plain = await testbed.pod({ name: 'plain', serve: [8080] });
    const [a4, b4, a6, b6] = testbed.remote.hosts as [string, string, string, string];
    hosts = { ip4: [a4, b4], ip6: [a6, b6] };
    const rule = { kind: 'port', direction: 'outbound', action: 'exclude', port: EXCLUDED_PORT } as const;
    node.mesh.rules.push({ ...rule, workload: pod.cgroup.id });
    node.mesh.apply();
  });
  afterAll(async () => node?.close());

  /** The destination as ztunnel says it, which knows no v4-mapped address. */
  const unmapped = (to: string): string => to.replace(/^\[::ffff:([\d.]+)\]/, '$1');

  /** It is in the mesh, ztunnel knows where it was to go, and neither side sees anything but what it would without a mesh. */
  function expectCaptured(
    result: Pick<DialResult, 'hops' | 'to' | 'peername' | 'sockname' | 'error'>,
    own?: string,
  ): void {
    const { hops, to, sockname } = result;
    expect(result).toMatchObject({ error: '', peername: to });
    expect(hops).toMatchObject([
      { by: 'ztunnel', port: 15001, originalDst: unmapped(to), originalDstFrom: 'local', peer: unmapped(sockname) },
      { by: 'remote', local: unmapped(to) },
    ]);
    if (own !== undefined) expect(unmapped(sockname)).toMatch(addressOf(own));
  }

  describe.each(FAMILIES)('%s', (family) => {
    const own = (): string => pod[family];
    const first = (): string => endpoint(hosts[family][0], 80);
    const second = (): string => endpoint(hosts[family][1], 80);
    const excluded = (): string => endpoint(hosts[family][0], EXCLUDED_PORT);
    const expectDirect = (result: Pick<DialResult, 'hops' | 'error'>): void =>
      expect(result).toMatchObject({ error: '', hops: [{ by: 'remote' }] });

    it.each<DialMethod>(['plain', 'nonblock', 'fastopen', 'fastopen-connect', 'iouring', 'mptcp'])(
      'connects by %s: captured, with the right names on both sides',
      async (method) => {
        expectCaptured(await pod.dial(first(), { method }), own());
        if (family === 'ip4') expectCaptured(await pod.dial(`[::ffff:${hosts.ip4[0]}]:80`, { method }), own());
        // To an excluded port the same method is direct.
        expectDirect(await pod.dial(excluded(), { method }));
      },
    );

    it('ztunnel, and nobody else, learns that a client has gone, and the source port is free again', async () => {
      const hasty = await node.mesh.node.pod({ name: 'hasty' });
      node.enrol(hasty);
      const ztunnel = await node.listen(hasty, { answer: true });
      const { remote } = node.mesh.node;
      const before = await segmentsReceived(remote.netns);
      const bind = endpoint(hasty[family], 25_001);
      // The kernel accepts the connection, and the client has closed it when ztunnel writes.
      ztunnel.signal('SIGSTOP');
      expect(await hasty.dial(first(), { bind, timeout: 300 })).toMatchObject({ ok: true, hops: [] });
      ztunnel.signal('SIGCONT');
      await expect
        .poll(async () => hasty.dial(first(), { bind, timeout: 300 }))
        .toMatchObject({
          error: '',
          hops: [{ originalDst: first() }],
        });
      expect(await segmentsReceived(remote.netns)).toBe(before);
      await ztunnel.stop();
      await hasty.delete();
    });

    it('UDP stays as it is', async () => {
      const to = endpoint(hosts[family][0], 80);
      expect(await pod.dial(to, { method: 'udp', mark: 7 })).toMatchObject({ ok: true, peername: to, mark: 7 });
    });

    it('one source port is connected to two destinations at once', async () => {
      const result = await pod.dial(first(), { bind: endpoint(own(), 23_001), beside: second() });
      for (const one of [result, result.beside]) {
        expect(one).toMatchObject({ sockname: endpoint(own(), 23_001) });
        if (one !== undefined) expectCaptured(one);
      }
    });

    it('one source port that connect() chooses late, too', async () => {
      const narrow = await node.mesh.node.pod({ name: 'narrow' });
      node.enrol(narrow);
      // With one port to choose from, ztunnel has none to dial on.
      const ztunnel = await node.listen(narrow, { answer: true });
      using netns = Netns.open(narrow.netns);
      writeSysctl(netns, 'net.ipv4.ip_local_port_range', '24001 24001');
      const from = endpoint(narrow[family], 24_001);
      const result = await narrow.dial(first(), {
        bind: endpoint(narrow[family], 0),
        latePort: true,
        beside: second(),
      });
      expect(result).toMatchObject({ sockname: from, hops: [{ originalDst: first(), peer: from }] });
      expect(result.beside).toMatchObject({ sockname: from, hops: [{ originalDst: second(), peer: from }] });
      await ztunnel.stop();
      await narrow.delete();
    });

    it('a socket connects again, captured both times', async () => {
      const result = await pod.dial(first(), { second: second() });
      expectCaptured(result);
      expectCaptured(result.second as DialResult);
    });

    it('a destination that nobody has is ztunnel’s to refuse', async () => {
      const to = endpoint(NOWHERE[family], 443 + 1);
      expect((await pod.dial(to)).hops).toMatchObject([{ by: 'ztunnel', originalDst: to }, { error: 'dial' }]);
    });

    it.each([15_001, 15_006, 15_008])('somebody else’s port %d is captured like any other', async (port) => {
      const server = await node.mesh.node.remote.serve([port]);
      expectCaptured(await pod.dial(endpoint(hosts[family][0], port)));
      await server.stop();
    });

    describe('bound to a device', () => {
      it('the pod’s: captured, and still bound', async () => {
        const result = await pod.dial(first(), { device: 'eth0' });
        expectCaptured(result, own());
        expect(result.device).toBe('eth0');
      });

      it('a second one: captured, from that one’s address, and still bound', async () => {
        const result = await pod.dial(first(), { device: 'net1' });
        expectCaptured(result, net1[family]);
        expect(result.device).toBe('net1');
      });

      it('one that the agent has not prepared: refused', async () => {
        expect(await pod.dial(first(), { device: 'net2' })).toMatchObject({ error: 'ECONNREFUSED', device: 'net2' });
      });

      it('and to the loopback: refused, unless it is bound to that', async () => {
        for (const ip of LOOPBACK[family]) {
          const to = endpoint(ip, 8080);
          expect(await pod.dial(to, { device: 'eth0', timeout: 500 })).toMatchObject({ error: 'ECONNREFUSED' });
          expect(await pod.dial(to, { device: 'lo' })).toMatchObject({ error: '', hops: [{ by: 'default/a' }] });
        }
      });

      it('the loopback: nothing gets out', async () => {
        const { remote } = node.mesh.node;
        const before = await segmentsReceived(remote.netns);
        expect(await pod.dial(first(), { device: 'lo', timeout: 500 })).toMatchObject({ ok: false, hops: [] });
        expect(await segmentsReceived(remote.netns)).toBe(before);
      });

      it.each<DialMethod>(['fastopen', 'mptcp', 'iouring'])('by %s: captured', async (method) => {
        expectCaptured(await pod.dial(first(), { device: 'net1', method }), net1[family]);
      });

      it('and to its address: captured, from that address', async () => {
        const bind = endpoint(net1[family] as string, 0);
        expectCaptured(await pod.dial(first(), { device: 'net1', bind }), net1[family]);
      });

      it('what is excluded is direct, and keeps the binding', async () => {
        const result = await pod.dial(excluded(), { device: 'net1' });
        expectDirect(result);
        expect(result.device).toBe('net1');
        expect(result.hops[0]?.peer).toMatch(addressOf(net1[family] as string));
      });
    });

    describe('with a mark', () => {
      it.each([1, 0x539, 0x111, 0x4000, 0x0fff_ffff, 0x7fff_ffff])(
        'of %i: captured, and its own bits stay',
        async (mark) => {
          const result = await pod.dial(first(), { mark });
          expectCaptured(result, own());
          expect(ownBits(result)).toBe(mark & ~CaptureMark.ROUTE_MARK);
        },
      );

      it('captured, then excluded: the second connection is direct, with the mark that was set', async () => {
        for (const options of [{ mark: 0x77 }, {}]) {
          const result = await pod.dial(first(), { ...options, second: excluded() });
          expectCaptured(result);
          expectDirect(result.second as DialResult);
          expect(result.second?.mark).toBe(options.mark ?? 0);
        }
      });

      it('captured, then to itself: the second connection is direct', async () => {
        for (const to of [endpoint(own(), 8080), endpoint(family === 'ip4' ? '127.0.0.1' : '::1', 8080)]) {
          const result = await pod.dial(first(), { second: to });
          expect(result.second).toMatchObject({ error: '', mark: 0, hops: [{ by: 'default/a' }] });
        }
      });

      it('excluded, then captured', async () => {
        const result = await pod.dial(excluded(), { mark: 0x77, second: first() });
        expectDirect(result);
        expectCaptured(result.second as DialResult);
      });

      it('of ours, set by the application: what is excluded is direct all the same', async () => {
        const result = await pod.dial(excluded(), { mark: CaptureMark.ROUTE_MARK | 5 });
        expectDirect(result);
        expect(result.mark).toBe(5);
      });
    });

    describe('from another source', () => {
      it.each(['eth0', 'lo', 'vpn0'])('a secondary address on %s: captured, from that address', async (device) => {
        const n = ['eth0', 'lo', 'vpn0'].indexOf(device) + 1;
        const secondary = family === 'ip4' ? `10.66.7.${n}` : `fd66:7::${n}`;
        await pod.addAddress(secondary, device);
        expectCaptured(await pod.dial(first(), { bind: endpoint(secondary, 0) }), secondary);
      });

      it('one that nobody has (IP_TRANSPARENT) never gets out', async () => {
        const nobody = family === 'ip4' ? '192.0.2.7:0' : '[2001:db8::7]:0';
        const options: DialOptions = { bind: nobody, transparent: true, timeout: 1500 };
        const { remote } = node.mesh.node;
        // The count sees what it is to see: without a mesh the SYN arrives.
        const before = await segmentsReceived(remote.netns);
        expect(await plain.dial(first(), options)).toMatchObject({ ok: false, hops: [] });
        const between = await segmentsReceived(remote.netns);
        expect(between).toBeGreaterThan(before);
        expect(await pod.dial(first(), options)).toMatchObject({ ok: false, hops: [] });
        expect(await segmentsReceived(remote.netns)).toBe(between);
      });
    });
  });

  it.each([
    '255.255.255.255:80',
    '10.66.0.255:80',
    '224.0.0.1:80',
    '[::ffff:224.0.0.1]:80',
    '[ff02::1]:80',
    '[ff0e::1]:80',
  ])('broadcast and multicast fail as they do without a mesh: %s', async (to) => {
    const { ok, error } = await plain.dial(to);
    expect(ok).toBe(false);
    expect(await pod.dial(to)).toMatchObject({ error, hops: [] });
  });
});
