// Only ztunnel gets what is captured, only the connections that may get past the capture do, and ztunnel's own dials
// never come back to it.
import { BpfMap } from '@sluice/libbpf';
import { listeningSockets, Netns, netnsCookie, setSockOptInt, writeSysctl } from '@sluice/linux';
import {
  LineProcess,
  endpoint,
  enterCommand,
  peerProgram,
  requires,
  type DialOptions,
  type DialResult,
  type HostProcess,
  type Pod,
} from '@sluice/testbed';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Datapath, WorkloadFlag, cleanup } from '../src/index.js';
import { addressWords } from '../src/address.js';
import { maps } from '../src/generated/maps.js';
import { InPodNode, listenLikeZtunnel } from './in-pod-node.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');

interface Dials {
  dial(to: string, options?: DialOptions): Promise<DialResult>;
}

describe.skipIf(need.skip)(`steering${need.label}`, () => {
  let world: InPodNode;
  let remote: Dials;
  let host: HostProcess;
  let kubelet: HostProcess;

  beforeEach(async () => {
    world = await InPodNode.create();
    const { node } = world.mesh;
    remote = node.remote;
    host = await node.hostProcess();
    kubelet = await node.kubelet();
    world.mesh.setKubelet(kubelet);
    world.mesh.apply();
  });
  afterEach(async () => world?.close());

  const acceptors = async (from: Dials, to: string, options?: DialOptions): Promise<(string | undefined)[]> =>
    (await from.dial(to, options)).hops.map(({ by }) => by);
  const outside = (): string => endpoint(world.mesh.node.remote.ip4, 80);
  /** Every acceptor of `count` connections from outside and as many from inside. */
  async function allAcceptors(pod: Pod, count = 10): Promise<Set<string | undefined>> {
    const seen = new Set<string | undefined>();
    for (let n = 0; n < count; n++) {
      for (const from of [await remote.dial(endpoint(pod.ip4, 80)), await pod.dial(outside())])
        seen.add(from.hops[0]?.by ?? from.error);
    }
    return seen;
  }

  describe('an application that listens on the ports of ztunnel', () => {
    it('gets nothing when it is first, although ztunnel joins its SO_REUSEPORT group', async () => {
      const pod = await world.mesh.node.pod({ name: 'a', serve: [80] });
      const thief = await listenLikeZtunnel(pod, pod.app.place.cgroup, { name: 'thief' });
      world.enrol(pod);
      expect(await allAcceptors(pod)).toEqual(new Set(['ECONNREFUSED']));
      await world.serve(pod);
      expect(await allAcceptors(pod)).toEqual(new Set(['ztunnel']));
      expect(thief.history).toEqual(['ready']);
      const { decisions, inbound } = world.mesh.datapath.counters();
      expect(decisions).toContainEqual({ verdict: 'refuse', reason: 'no-ztunnel', count: 10n });
      expect(inbound).toContainEqual({ verdict: 'refuse', reason: 'no-listener', count: 10n });
    });

    it('gets nothing when it is second', async () => {
      const pod = await world.pod({ name: 'a', serve: [80] });
      const thief = await listenLikeZtunnel(pod, pod.app.place.cgroup, { name: 'thief' });
      expect(await allAcceptors(pod)).toEqual(new Set(['ztunnel']));
      expect(thief.history).toEqual(['ready']);
    });
  });

  it('a dial to 15001 or 15006 from outside reaches neither the listener of that port nor an application', async () => {
    const pod = await world.pod({ name: 'a', serve: [80] });
    expect(await remote.dial(endpoint(pod.ip4, 15001))).toMatchObject({ error: 'ECONNREFUSED' });
    const { hops } = await remote.dial(endpoint(pod.ip4, 15006));
    expect(hops).toMatchObject([{ by: 'ztunnel', port: 15006 }, { error: 'self-call' }]);
  });

  it('an application that is excluded, bypassed or held does not open ztunnel’s ports to others', async () => {
    const pod = await world.pod({ name: 'a', serve: [80] });
    const { mesh } = world;
    const refused = async (): Promise<void> => {
      for (const port of [15001, 15006])
        expect(await remote.dial(endpoint(pod.ip4, port))).toMatchObject({ error: 'ECONNREFUSED' });
    };
    mesh.rules.push({ kind: 'port', workload: pod.cgroup.id, direction: 'inbound', action: 'include', port: 443 });
    mesh.apply();
    expect(await acceptors(remote, endpoint(pod.ip4, 80))).toEqual(['default/a']);
    await refused();
    mesh.rules.pop();
    world.enrol(pod, WorkloadFlag.BYPASS_INBOUND);
    expect(await acceptors(remote, endpoint(pod.ip4, 80))).toEqual(['default/a']);
    await refused();
    world.enrol(pod, WorkloadFlag.PENDING);
    expect(await remote.dial(endpoint(pod.ip4, 80))).toMatchObject({ error: 'ECONNREFUSED' });
    world.enrol(pod, WorkloadFlag.PENDING | WorkloadFlag.OPEN_WAITING);
    expect(await acceptors(remote, endpoint(pod.ip4, 80))).toEqual(['default/a']);
    await refused();
  });

  describe('exemption', () => {
    /** Writes an entry as sockops would. */
    function exempt(cookie: bigint, client: [string, number], pod: [string, number]): void {
      using map = BpfMap.openPinned(`${world.mesh.pinDirectory}/maps/exempt_tuples`);
      map.typed(maps.exempt_tuples).set(
        {
          netns: [Number(cookie & 0xffffffffn), Number(cookie >> 32n)],
          tuple: {
            localIp: addressWords(client[0]),
            remoteIp: addressWords(pod[0]),
            localPort: client[1],
            remotePort: pod[1],
          },
        },
        1n,
      );
    }

    it('of a tuple holds in the namespace that it was written for, and nowhere else', async () => {
      const pod = await world.pod({ name: 'a', serve: [80] });
      const other = await world.pod({ name: 'b', serve: [80] });
      const { ip4 } = world.mesh.node;
      exempt(netnsCookie(other.netns), [ip4, 40_001], [pod.ip4, 80]);
      expect(await acceptors(host, endpoint(pod.ip4, 80), { bind: endpoint(ip4, 40_001) })).toEqual([
        'ztunnel',
        'default/a',
      ]);
      exempt(netnsCookie(pod.netns), [ip4, 40_002], [pod.ip4, 80]);
      expect(await acceptors(host, endpoint(pod.ip4, 80), { bind: endpoint(ip4, 40_002) })).toEqual(['default/a']);
    });

    it('ends with the connection: its tuple is of no use to a later connection with the same addresses', async () => {
      const pod = await world.pod({ name: 'a', serve: [80] });
      const { ip4, ip6 } = world.mesh.node;
      for (let round = 0; round < 20; round++) {
        for (const [from, to] of [
          [endpoint(ip4, 40_100), endpoint(pod.ip4, 80)],
          [endpoint(ip6, 40_100), endpoint(pod.ip6, 80)],
        ] as const) {
          expect(await acceptors(kubelet, to, { bind: from })).toEqual(['default/a']);
          expect(await acceptors(host, to, { bind: from })).toEqual(['ztunnel', 'default/a']);
        }
      }
      await expect.poll(() => world.exemptTuples()).toBe(0);
    });

    it('ends when nobody answers, too', async () => {
      const pod = await world.pod({ name: 'a' });
      for (const ip of pod.ips) expect(await kubelet.dial(endpoint(ip, 80))).toMatchObject({ error: 'ECONNREFUSED' });
      // ztunnel dials an application that does not exist.
      expect((await remote.dial(endpoint(pod.ip4, 80))).hops).toMatchObject([{ by: 'ztunnel' }, { error: 'dial' }]);
      await expect.poll(() => world.exemptTuples()).toBe(0);
    });

    it('lasts until the application has accepted, when that takes a SYN cookie', async () => {
      const pod = await world.pod({ name: 'a', serve: [80] });
      using netns = Netns.open(pod.netns);
      writeSysctl(netns, 'net.ipv4.tcp_syncookies', '2');
      for (const ip of pod.ips) {
        expect(await acceptors(kubelet, endpoint(ip, 80))).toEqual(['default/a']);
        expect(await acceptors(remote, endpoint(ip, 80))).toEqual(['ztunnel', 'default/a']);
      }
      await expect.poll(() => world.exemptTuples()).toBe(0);
    });

    it('fails a dial of ztunnel’s when there is no room, and the dial never comes back to ztunnel', async () => {
      const { mesh } = world;
      mesh.datapath.close();
      cleanup(mesh.pinDirectory);
      const at = { pinDirectory: mesh.pinDirectory, cgroup: mesh.node.cgroup.path };
      mesh.datapath = Datapath.open({ ...at, capacities: { exemptConnections: 1 } });
      mesh.apply();
      mesh.datapath.activate();
      const pod = await world.pod({ name: 'a', serve: [80] });
      expect(await acceptors(remote, endpoint(pod.ip4, 80))).toEqual(['ztunnel', 'default/a']);
      await world.ztunnel.until(({ accepted }) => accepted.length === 1);
      await expect.poll(() => world.exemptTuples()).toBe(0);
      exempt(1n, [pod.ip4, 1], [pod.ip4, 2]);
      const { hops } = await remote.dial(endpoint(pod.ip4, 80));
      expect(hops).toMatchObject([{ by: 'ztunnel', port: 15006 }, { error: 'dial' }]);
      await world.ztunnel.until(({ accepted }) => accepted.length > 1);
      expect(world.ztunnel.accepted).toHaveLength(2);
      expect(mesh.datapath.counters().events['exempt-full']).toBeGreaterThan(0n);
      // A probe is treated like any other connection.
      expect((await kubelet.dial(endpoint(pod.ip4, 80))).hops).toMatchObject([
        { by: 'ztunnel', port: 15006 },
        { error: 'dial' },
      ]);
    });
  });

  describe('listeners', () => {
    it('the newest gets new connections; an older one that closes removes nothing but itself', async () => {
      const pod = await world.pod({ name: 'a', serve: [80] });
      const first = world.captured(pod, 15006);
      const second = await world.listen(pod, { name: 'second', answer: true });
      expect(world.captured(pod, 15006)).not.toBe(first);
      expect(await allAcceptors(pod)).toEqual(new Set(['second']));
      world.withdraw(pod);
      await world.ztunnel.event('removed');
      expect(await allAcceptors(pod)).toEqual(new Set(['second']));
      await second.stop();
      expect(world.captured(pod, 15006)).toBeUndefined();
      expect(await allAcceptors(pod)).toEqual(new Set(['ECONNREFUSED']));
    });

    it('one that was there before the programs is captured by its descriptor', async () => {
      const pod = await world.mesh.node.pod({ name: 'a', serve: [80] });
      await world.serve(pod);
      world.enrol(pod);
      expect(world.captured(pod, 15006)).toBeUndefined();
      const cookie = netnsCookie(pod.netns);
      const pid = world.ztunnel.process.pid;
      for (const socket of listeningSockets(pid, { ports: [15001, 15006] })) {
        if (socket.port === 15006) setSockOptInt(socket.fd, 1, 2, 1); // SOL_SOCKET, SO_REUSEADDR
        world.mesh.datapath.captureListener(cookie, socket.port, socket.fd);
        expect(world.captured(pod, socket.port)).toBe(socket.socketCookie);
        socket.close();
      }
      expect(await allAcceptors(pod)).toEqual(new Set(['ztunnel']));
      expect(await acceptors(remote, endpoint(pod.ip4, 80))).toEqual(['ztunnel', 'default/a']);
      await pod.server.restart();
      await world.ztunnel.kill9();
      expect(world.captured(pod, 15006)).toBeUndefined();
      expect(await allAcceptors(pod)).toEqual(new Set(['ECONNREFUSED']));
    });
  });

  it('an application starts again on its port while steered connections are open', async () => {
    const pod = await world.mesh.node.pod({ name: 'a' });
    world.enrol(pod);
    await world.serve(pod);
    const application = await pod.serve([8080], { echo: true });
    for (const ip of pod.ips) {
      const client = await LineProcess.start(
        enterCommand({ netns: world.mesh.node.remote.netns.path }, [
          peerProgram(),
          'stream',
          '--to',
          endpoint(ip, 8080),
        ]),
      );
      expect(JSON.parse(await client.nextLine())).toMatchObject({ event: 'begin' });
      await application.restart();
      await client.stop();
    }
    expect(await acceptors(remote, endpoint(pod.ip4, 8080))).toEqual(['ztunnel', 'default/a']);
  });

  it('every address of the pod is captured, whether Kubernetes knows it or not', async () => {
    const pod = await world.pod({ name: 'a', serve: [80] });
    for (const [ip, device] of [
      ['10.66.7.1', 'eth0'],
      ['10.66.7.2', 'lo'],
      ['fd66:7::1', 'eth0'],
    ] as const) {
      await pod.addAddress(ip, device);
      world.own(pod, ip);
      const { hops } = await remote.dial(endpoint(ip, 80));
      expect(hops).toMatchObject([
        { by: 'ztunnel', port: 15006, originalDst: endpoint(ip, 80) },
        { by: 'default/a', local: endpoint(ip, 80) },
      ]);
      // The pod itself gets there in the end, whichever way.
      expect((await acceptors(pod, endpoint(ip, 80))).at(-1)).toBe('default/a');
      // From another of its addresses to this one: it is captured once, and not for ever.
      const from = ip.includes(':') ? pod.ip6 : pod.ip4;
      expect((await acceptors(pod, endpoint(ip, 80), { bind: endpoint(from, 0) })).at(-1)).toBe('default/a');
    }
    await expect.poll(() => world.exemptTuples()).toBe(0);
  });

  it('the same tuple on the loopbacks of two pods is two connections', async () => {
    const pods = [await world.pod({ name: 'a', serve: [80] }), await world.pod({ name: 'b', serve: [80] })];
    for (const ip of ['127.0.0.1', '::1']) {
      const results = await Promise.all(
        pods.map((pod) => acceptors(pod, endpoint(ip, 80), { bind: endpoint(ip, 40_200) })),
      );
      expect(results).toEqual([['default/a'], ['default/b']]);
    }
  });

  it('a namespace inside the pod is not captured: neither what it dials nor what comes in to it', async () => {
    const pod = await world.pod({ name: 'a', serve: [80] });
    const nested = await pod.nestedNetns();
    const server = await LineProcess.start(
      enterCommand({ netns: nested.netns.path, cgroup: pod.app.place.cgroup }, [
        peerProgram(),
        'serve',
        '--name',
        'nested',
        '--port',
        '80',
      ]),
    );
    await server.lineMatching(/^ready$/);
    // To the pod, it is a client like any other.
    expect(await acceptors(nested, endpoint(pod.ip4, 80))).toEqual(['ztunnel', 'default/a']);
    // ztunnel dials on behalf of the pod, and reaches what the pod dialled.
    expect((await pod.dial(endpoint(nested.ip4 ?? '', 80))).hops).toMatchObject([
      { by: 'ztunnel', port: 15001 },
      { by: 'nested', local: endpoint(nested.ip4 ?? '', 80) },
    ]);
    expect(await acceptors(nested, '127.0.0.1:80')).toEqual(['nested']);
  });

  it('many at once leave nothing behind', async () => {
    const pod = await world.pod({ name: 'a', serve: [80] });
    await Promise.all(Array.from({ length: 20 }, () => remote.dial(endpoint(pod.ip4, 80))));
    await expect.poll(() => [world.exemptTuples(), world.mesh.handoffs()]).toEqual([0, 0]);
  });
});
