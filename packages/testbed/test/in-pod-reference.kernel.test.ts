// The stand-in ztunnel behind the redirection that istio-cni makes with iptables: its quality as a ztunnel shows here, without
// any code of ours in between. Original destinations, original sources, DNS, restarts, draining.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { endpoint, enterCommand, requires, runToEnd, TestNode, type Pod, type StandInZtunnel } from '../src/index.js';
import { socketPath, Zds } from './in-pod.js';

const need = requires('root', 'cgroup2', 'netns', 'iptables');

/** ztunnel's mark, and istio-cni's own: a connection that ztunnel made, and its answers (cni/pkg/iptables). */
const ZTUNNEL_MARK = '0x539/0xfff';
const CONNECTION_MARK = '0x111/0xfff';

async function redirect(pod: Pod): Promise<void> {
  const inside = (argv: readonly string[]): Promise<string[]> => runToEnd(enterCommand({ netns: pod.netns }, argv));
  for (const [iptables, ip, loopback] of [
    ['iptables-legacy', ['ip', '-4'], '127.0.0.0/8'],
    ['ip6tables-legacy', ['ip', '-6'], '::1/128'],
  ] as const) {
    const others = ['-p', 'tcp', '-m', 'mark', '!', '--mark', ZTUNNEL_MARK, '!', '-d', loopback];
    for (const rule of [
      ['mangle', 'PREROUTING', '-m', 'mark', '--mark', ZTUNNEL_MARK, '-j', 'CONNMARK', '--set-xmark', CONNECTION_MARK],
      ['mangle', 'OUTPUT', '-m', 'connmark', '--mark', CONNECTION_MARK, '-j', 'CONNMARK', '--restore-mark'],
      [
        'nat',
        'PREROUTING',
        ...others,
        '-m',
        'multiport',
        '!',
        '--dports',
        '15008',
        '-j',
        'REDIRECT',
        '--to-ports',
        '15006',
      ],
      [
        'nat',
        'OUTPUT',
        ...others,
        '-m',
        'mark',
        '!',
        '--mark',
        CONNECTION_MARK,
        '!',
        '-o',
        'lo',
        '-j',
        'REDIRECT',
        '--to-ports',
        '15001',
      ],
    ]) {
      const [table = '', chain = '', ...rest] = rule;
      await inside([iptables, '-t', table, '-A', chain, ...rest]);
    }
    await inside([...ip, 'rule', 'add', 'fwmark', CONNECTION_MARK, 'pref', '32764', 'lookup', '100']);
    await inside([...ip, 'route', 'add', 'local', 'default', 'dev', 'lo', 'table', '100']);
  }
}

describe.skipIf(need.skip)(`a ztunnel in inPod mode behind iptables${need.label}`, () => {
  let node: TestNode;
  let shop: Pod;
  let bank: Pod;
  let plain: Pod;
  let zds: Zds;
  let ztunnel: StandInZtunnel;
  let path: string;

  beforeAll(async () => {
    node = await TestNode.create();
    // A connection that is half made when its listener closes goes to the other ztunnel's (ip-sysctl.rst). Without this setting
    // one in some thousand would be reset, and ztunnel has no means against it.
    const sysctls = { 'net.ipv4.tcp_migrate_req': '1' };
    shop = await node.pod({ namespace: 'shop', name: 'a', serve: [8080], sysctls });
    bank = await node.pod({ namespace: 'bank', name: 'b', serve: [8080] });
    plain = await node.pod({ name: 'plain', serve: [8080] });
    await redirect(shop);
    await redirect(bank);
    path = socketPath(node);
    zds = new Zds(path, [shop, bank]);
    ztunnel = await node.ztunnel({ mode: 'inPod', zdsSocket: path });
    await zds.event('synced');
  });
  afterAll(async () => {
    await zds?.[Symbol.asyncDispose]();
    await node?.close();
  });

  const inbound = (pod: Pod, to: string, client: string) => [
    { by: ztunnel.pod.name, port: 15006, pod: pod.uid, originalDst: to, peer: expect.stringContaining(client) },
    { by: `${pod.namespace}/${pod.name}`, port: 8080, local: to, peer: expect.stringContaining(client) },
  ];

  test('an application that is reached from another node or pod sees the client’s address', async () => {
    for (const ip of shop.ips) {
      const to = endpoint(ip, 8080);
      const far = await node.remote.dial(to);
      expect(far.hops).toMatchObject(inbound(shop, to, far.sockname.replace(/:\d+$/, '')));
      const near = await plain.dial(to);
      expect(near.hops).toMatchObject(inbound(shop, to, ip === shop.ip4 ? plain.ip4 : plain.ip6));
    }
  });

  test('what a pod dials arrives from the pod’s address; in another pod of the mesh through two listeners', async () => {
    for (const [out, to, own] of [
      [node.remote.ip4, bank.ip4, shop.ip4],
      [node.remote.ip6, bank.ip6, shop.ip6],
    ] as const) {
      const { hops, peername } = await shop.dial(endpoint(out, 80));
      expect(peername).toBe(endpoint(out, 80));
      expect(hops).toMatchObject([
        { port: 15001, pod: shop.uid, originalDst: endpoint(out, 80), peer: expect.stringContaining(own) },
        { by: 'remote', port: 80, peer: expect.stringContaining(own) },
      ]);
      expect((await shop.dial(endpoint(to, 8080))).hops).toMatchObject([
        { port: 15001, pod: shop.uid, originalDst: endpoint(to, 8080) },
        ...inbound(bank, endpoint(to, 8080), own),
      ]);
    }
  });

  test('without original source an application sees its own pod', async () => {
    await using other = new Zds(socketPath(node), [plain]);
    const second = await node.ztunnel({
      mode: 'inPod',
      name: 'ztunnel-plain',
      zdsSocket: other.server.path,
      originalSource: false,
      drainMs: 0,
    });
    await other.event('synced');
    await redirect(plain);
    const { hops } = await node.remote.dial(endpoint(plain.ip4, 8080));
    expect(hops).toMatchObject([{ port: 15006 }, { by: 'default/plain', peer: expect.stringContaining(plain.ip4) }]);
    await second.stop();
  });

  test('a stranger’s connections to ztunnel’s ports are refused by it, and those to 15008 are not redirected', async () => {
    for (const port of [15001, 15006]) {
      const { hops } = await node.remote.dial(endpoint(shop.ip4, port));
      expect(hops).toMatchObject([{ port: 15006, originalDst: endpoint(shop.ip4, port) }, { error: 'self-call' }]);
    }
    expect((await node.remote.dial(endpoint(shop.ip4, 15008))).hops).toMatchObject([
      { port: 15008, originalDst: endpoint(shop.ip4, 15008), originalDstFrom: 'local' },
    ]);
  });

  test('an application is started again on its port while ztunnel holds connections to it', async () => {
    const server = await shop.serve([7000], { echo: true });
    const stream = await bank.stream(endpoint(shop.ip4, 7000));
    expect(stream.hops.map(({ port }) => port)).toEqual([15001, 15006, 7000]);
    await stream.progress();
    await server.restart();
    expect((await stream.ended).broken).toMatch(/^(EOF|ECONNRESET|EPIPE)$/);
    const again = await bank.stream(endpoint(shop.ip4, 7000));
    await again.progress();
    expect(await again.stop()).toMatchObject({ broken: '' });
    await server.stop();
  });

  test('a rollout: the old ztunnel drains, its streams go on, and no new connection fails; killed, all of them break', async () => {
    const server = await shop.serve([7001], { echo: true });
    const stream = await bank.stream(endpoint(shop.ip4, 7001));
    const load = await bank.load([endpoint(shop.ip4, 8080)], { pauseMs: 1 });
    const inward = await node.remote.load([endpoint(shop.ip4, 8080), endpoint(shop.ip6, 8080)], { pauseMs: 1 });
    const far = await node.remote.stream(endpoint(shop.ip6, 7001));
    expect(far.hops.map(({ port }) => port)).toEqual([15006, 7001]);
    const next = await node.ztunnel({ mode: 'inPod', name: 'ztunnel-next', zdsSocket: path, drainMs: 0 });
    await zds.event('synced', () => true, 2);
    await next.event('ready');
    const ended = ztunnel.stop();
    await ztunnel.event('draining');
    const accepted = next.accepted.length;
    await next.until(() => next.accepted.length > accepted + 50);
    await stream.progress(5);
    await far.progress(5);
    for (const summary of [await load.stop(), await inward.stop()])
      expect(summary).toMatchObject({ refused: 0, errors: 0, direct: 0, firstErrors: [] });
    expect(await far.stop()).toMatchObject({ broken: '' });
    expect(ztunnel.process.running).toBe(true);
    expect(await stream.stop()).toMatchObject({ broken: '' });
    await ended;
    expect(await ztunnel.event('drained')).toEqual({ event: 'drained', left: 0 });

    const last = await bank.stream(endpoint(shop.ip4, 7001));
    expect(last.hops[0]?.by).toBe('ztunnel-next');
    await next.kill9();
    expect((await last.ended).broken).not.toBe('');
    expect((await bank.dial(endpoint(shop.ip4, 8080))).error).toBe('ECONNREFUSED');
    await server.stop();
  });
});
