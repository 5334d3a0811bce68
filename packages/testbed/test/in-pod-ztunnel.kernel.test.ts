// The stand-in ztunnel in inPod mode, with the real ZDS server in the agent's place: it listens where it is told to, with
// ztunnel's options, and treats the server as ztunnel does. No program is attached: its ports are dialled directly.
import { readdirSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  DNS_ANSWERS,
  endpoint,
  enterCommand,
  PATIENCE_MS,
  requires,
  runToEnd,
  TestNode,
  ZTUNNEL_PORTS,
  type Pod,
} from '../src/index.js';
import { socketPath, Zds } from './in-pod.js';

const need = requires('root', 'cgroup2', 'netns');

describe.skipIf(need.skip)(`a ztunnel in inPod mode${need.label}`, () => {
  let node: TestNode;
  let shop: Pod;
  let bank: Pod;
  let names = 0;

  beforeAll(async () => {
    node = await TestNode.create();
    // A connection that is half made when its listener closes goes to the other ztunnel's (ip-sysctl.rst). Without this setting
    // one in some thousand would be reset, and ztunnel has no means against it.
    const sysctls = { 'net.ipv4.tcp_migrate_req': '1' };
    shop = await node.pod({ namespace: 'shop', name: 'a', serve: [8080], sysctls });
    bank = await node.pod({ namespace: 'bank', name: 'b', serve: [8080] });
  });
  afterAll(() => node?.close());

  // A server that gets an acknowledgement may be ahead of the test that reads ztunnel's lines: each test waits for both.

  /** A ztunnel of the test's own, connected or not. */
  const start = (zdsSocket: string, options: { drainMs?: number; originalSource?: boolean; dns?: boolean } = {}) =>
    node.ztunnel({ mode: 'inPod', zdsSocket, name: `ztunnel-${names++}`, drainMs: 0, ...options });

  test('listens in the pods of the snapshot, and says whose listener accepted', async () => {
    const path = socketPath(node);
    await using zds = new Zds(path, [shop, bank]);
    const ztunnel = await start(path);
    await zds.event('synced');
    await ztunnel.event('ready');
    expect(ztunnel.workloads).toEqual(new Set([shop.uid, bank.uid]));
    expect(await ztunnel.event('added', ({ pod }) => pod === shop.uid)).toMatchObject({
      name: 'a',
      namespace: 'shop',
      serviceAccount: 'default',
    });
    for (const pod of [shop, bank])
      for (const ip of pod.ips)
        for (const port of [ZTUNNEL_PORTS.outbound, ZTUNNEL_PORTS.inbound, ZTUNNEL_PORTS.hbone]) {
          const { hops, sockname } = await node.remote.dial(endpoint(ip, port));
          expect(hops[0]).toMatchObject({ by: 'ztunnel-0', port, peer: sockname, pod: pod.uid });
          expect(hops[0]).toMatchObject({ originalDst: endpoint(ip, port), originalDstFrom: 'local' });
          expect(hops.slice(1)).toEqual(
            port === ZTUNNEL_PORTS.hbone ? [] : [{ error: 'self-call', detail: endpoint(ip, port) }],
          );
        }
    await ztunnel.until(({ accepted }) => accepted.length >= 12);
    expect(ztunnel.protocolErrors).toEqual([]);
    await ztunnel.stop();
    await expect(ztunnel.exited).resolves.toEqual({ code: 0, signal: null });
    expect((await node.remote.dial(endpoint(shop.ip4, 15008))).error).toBe('ECONNREFUSED');
  });

  test("its listeners have ztunnel's options, and the pod sees its DNS", async () => {
    const path = socketPath(node);
    await using zds = new Zds(path, [shop]);
    const ztunnel = await start(path);
    await zds.event('synced');
    // ss(8) -e shows the mark (fwmark) and the cgroup; -m is not needed.
    const listening = await runToEnd(enterCommand({ netns: shop.netns }, ['ss', '-Hlntue']));
    const marked = listening.filter((line) => line.includes('fwmark:0x539'));
    const local = marked.map((line) => line.split(/\s+/)[4] ?? '').toSorted();
    expect(local).toEqual(
      ['*:15001', '*:15006', '*:15008', '127.0.0.1:15053', '127.0.0.1:15053', '[::1]:15053', '[::1]:15053'].toSorted(),
    );
    for (const protocol of ['udp', 'tcp'] as const)
      for (const server of ['127.0.0.1:15053', '[::1]:15053'])
        for (const type of ['A', 'AAAA'] as const)
          expect(await shop.resolve({ server, protocol, type, name: 'shop.example' })).toMatchObject({
            answer: DNS_ANSWERS.ztunnel[type],
            by: 'ztunnel',
            from: server,
            error: '',
          });
    expect(await ztunnel.event('query')).toMatchObject({ name: 'shop.example', pod: shop.uid, protocol: 'udp' });
    await ztunnel.stop();
  });

  test('comes as the agent comes, and keeps what it has while the agent is away', async () => {
    const path = socketPath(node);
    const ztunnel = await start(path);
    {
      await using zds = new Zds(path, [shop]);
      await zds.event('synced');
    }
    await ztunnel.event('disconnected');
    expect((await shop.dial(endpoint(shop.ip4, 15008))).hops[0]?.by).toBe(ztunnel.pod.name);
    // Another snapshot, without shop: shop is drained at once, and bank is new.
    await using zds = new Zds(path, [bank]);
    await zds.event('synced');
    await ztunnel.event('added', ({ pod }) => pod === bank.uid);
    await ztunnel.event('dropped', ({ pod }) => pod === shop.uid);
    expect(ztunnel.workloads).toEqual(new Set([bank.uid]));
    expect((await shop.dial(endpoint(shop.ip4, 15008))).error).toBe('ECONNREFUSED');
    await ztunnel.kill9();
    expect((await shop.dial(endpoint(bank.ip4, 15008))).error).toBe('ECONNREFUSED');
    await expect(ztunnel.exited).resolves.toMatchObject({ signal: 'SIGKILL' });
  });

  test('Add, Del, Keep, the same namespace again, and another under the same uid', async () => {
    const path = socketPath(node);
    const ztunnel = await start(path);
    {
      await using zds = new Zds(path, [shop]);
      await zds.event('synced');
      zds.server.set(zds.workloadOf(bank));
      await zds.event('acked', ({ uid }) => uid === bank.uid);
      zds.server.delete(bank.uid);
      await zds.event('removed', ({ uid }) => uid === bank.uid);
      await ztunnel.event('removed', ({ pod }) => pod === bank.uid);
      expect(ztunnel.workloads).toEqual(new Set([shop.uid]));
      expect((await shop.dial(endpoint(bank.ip4, 15008))).error).toBe('ECONNREFUSED');
    }
    // shop again, and a Keep for a uid that it does not know.
    await using zds = new Zds(path, [shop]);
    zds.server.set({ ...zds.workloadOf(bank), netns: 'unknown' });
    await zds.event('synced');
    await ztunnel.event('unchanged', ({ pod }) => pod === shop.uid);
    await ztunnel.event('kept', ({ pod }) => pod === bank.uid);
    expect(ztunnel.workloads).toEqual(new Set([shop.uid]));
    // A new sandbox of the same pod: the listeners move.
    zds.server.set({ ...zds.workloadOf(shop), netns: zds.workloadOf(bank).netns });
    await ztunnel.until(({ events }) => events.filter((event) => event.event === 'added').length === 3);
    await zds.event('acked', ({ uid }) => uid === shop.uid, 2);
    expect((await shop.dial(endpoint(shop.ip4, 15008))).error).toBe('ECONNREFUSED');
    expect((await shop.dial(endpoint(bank.ip4, 15008))).hops[0]?.pod).toBe(shop.uid);
    await ztunnel.stop();
  });

  test('refuses a workload whose port is taken, says why, and has it as soon as the port is free', async () => {
    const path = socketPath(node);
    // A new pod, because a port on which a ztunnel has accepted is not free at once: ztunnel does not set SO_REUSEADDR.
    const busy = await node.pod({ namespace: 'bank', name: 'busy' });
    const squatter = await busy.serve([15006]);
    await using zds = new Zds(path, [shop, busy], { backOff: { baseMs: 20, capMs: 20 } });
    const ztunnel = await start(path);
    const nack = await zds.event('nacked');
    expect(nack).toMatchObject({ uid: busy.uid });
    expect(nack.reason).toContain('bind [::]:15006: Address already in use');
    await zds.event('synced');
    // It has read on after the snapshot, where it would have reported that it is ready.
    await ztunnel.until(({ events }) => {
      const kinds = events.map(({ event }) => event);
      return kinds.includes('snapshot') && kinds.lastIndexOf('refused') > kinds.indexOf('snapshot');
    });
    expect(ztunnel.events.some(({ event }) => event === 'ready')).toBe(false);
    expect(ztunnel.workloads).toEqual(new Set([shop.uid]));
    await squatter.stop();
    await zds.event('acked', ({ uid }) => uid === busy.uid);
    await ztunnel.event('ready');
    await ztunnel.stop();
    await busy.delete();
  });

  test('tries again by itself if the agent does not', async () => {
    const path = socketPath(node);
    const busy = await node.pod({ namespace: 'bank', name: 'busier' });
    const squatter = await busy.serve([15001]);
    await using zds = new Zds(path, [busy], { backOff: { baseMs: 1e6, capMs: 1e6 } });
    const ztunnel = await start(path);
    await zds.event('nacked');
    await squatter.stop();
    await ztunnel.event('retried');
    await ztunnel.event('added');
    await ztunnel.event('ready');
    await ztunnel.stop();
    await busy.delete();
  });

  test('two at once: both listen, and when the old one drains nothing breaks', async () => {
    const path = socketPath(node);
    const echo = await shop.serve([7000], { echo: true });
    await using zds = new Zds(path, [shop, bank]);
    const former = await start(path, { drainMs: PATIENCE_MS });
    await zds.event('synced');
    await former.event('ready');
    const stream = await shop.stream(endpoint(shop.ip4, 7000));
    const held = await bank.dial(endpoint(shop.ip4, 15008));
    expect(held.hops[0]?.by).toBe(former.pod.name);
    const next = await start(path);
    await zds.event('synced', () => true, 2);
    await next.event('ready');
    expect(next.workloads).toEqual(former.workloads);
    const load = await bank.load([endpoint(shop.ip4, 15008)]);
    const accepted = next.accepted.length;
    await former.stop();
    await next.until((ztunnel) => ztunnel.accepted.length > accepted + 50);
    expect(await load.stop()).toMatchObject({ refused: 0, errors: 0, direct: 0 });
    await stream.progress();
    expect(await stream.stop()).toMatchObject({ broken: '' });
    await next.stop();
    await echo.stop();
  });

  test('answers DNS only where it is asked to, and on ::1 only where that exists', async () => {
    const path = socketPath(node);
    const v4 = await node.pod({
      namespace: 'shop',
      name: 'v4',
      families: [4],
      sysctls: { 'net.ipv6.conf.all.disable_ipv6': '1', 'net.ipv6.conf.default.disable_ipv6': '1' },
    });
    const v6 = await node.pod({ namespace: 'shop', name: 'v6', families: [6] });
    await using zds = new Zds(path, [v4, v6]);
    const ztunnel = await start(path);
    await zds.event('synced');
    await ztunnel.event('ready');
    expect((await v4.resolve({ server: '127.0.0.1:15053' })).by).toBe('ztunnel');
    expect((await v6.resolve({ server: '[::1]:15053', type: 'AAAA' })).by).toBe('ztunnel');
    expect((await node.remote.dial(endpoint(v4.ip4, 15008))).hops[0]?.pod).toBe(v4.uid);
    expect((await node.remote.dial(endpoint(v6.ip6, 15008))).hops[0]?.pod).toBe(v6.uid);
    await ztunnel.stop();
    const without = await start(path, { dns: false });
    await zds.event('synced', () => true, 2);
    expect((await v4.resolve({ server: '127.0.0.1:15053', connected: true })).error).toBe('ECONNREFUSED');
    await without.stop();
    await v4.delete();
    await v6.delete();
  });

  test('a hundred workloads that come and go leave neither descriptors nor threads', async () => {
    const path = socketPath(node);
    await using zds = new Zds(path, [shop]);
    const ztunnel = await start(path);
    await zds.event('synced');
    const { pid } = ztunnel.process;
    const used = (): [number, number] => [
      readdirSync(`/proc/${pid}/fd`).length,
      readdirSync(`/proc/${pid}/task`).length,
    ];
    const before = used();
    for (let i = 1; i <= 100; i++) {
      zds.server.set(zds.workloadOf(bank));
      await zds.event('acked', ({ uid }) => uid === bank.uid, i);
      const dialled = i % 10 === 0 ? await shop.dial(endpoint(bank.ip4, 15008)) : undefined;
      expect(dialled?.ok).not.toBe(false);
      zds.server.delete(bank.uid);
      await zds.event('removed', ({ uid }) => uid === bank.uid, i);
    }
    // The threads of the last connections may still be ending.
    await expect.poll(used).toEqual(before);
    await ztunnel.stop();
  });
});
