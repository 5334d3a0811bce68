// The testbed's node: what can reach what without any program attached, in every way of dialling.
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  endpoint,
  requires,
  TestNode,
  type DialMethod,
  type HostProcess,
  type Pod,
  type StandInZtunnel,
} from '../src/index.js';

const need = requires('root', 'cgroup2', 'netns');

describe.skipIf(need.skip)(`a node in namespaces${need.label}`, () => {
  let node: TestNode;
  let shop: Pod;
  let bank: Pod;
  let ztunnel: StandInZtunnel;
  let kubelet: HostProcess;

  beforeAll(async () => {
    node = await TestNode.create();
    shop = await node.pod({ namespace: 'shop', name: 'a', labels: { app: 'shop' }, serve: [80, 8080] });
    bank = await node.pod({ namespace: 'bank', name: 'b', serve: [80], cgroupStyle: 'systemd', qosClass: 'burstable' });
    ztunnel = await node.ztunnel();
    kubelet = await node.kubelet();
  });
  afterAll(() => node?.close());

  const methods: DialMethod[] = ['plain', 'nonblock', 'fastopen', 'fastopen-connect', 'iouring', 'mptcp'];
  test.each(methods)('a pod reaches the other node by %s over IPv4, IPv6 and v4-mapped IPv6', async (method) => {
    const { ip4, ip6 } = node.remote;
    for (const [to, local, from] of [
      [endpoint(ip4, 80), endpoint(ip4, 80), shop.ip4],
      [endpoint(ip6, 80), endpoint(ip6, 80), shop.ip6],
      [`[::ffff:${ip4}]:80`, endpoint(ip4, 80), shop.ip4],
    ] as const) {
      const result = await shop.dial(to, { method });
      expect(result).toMatchObject({ to, method, ok: true, errno: 0, peername: to, ended: true, readError: '' });
      expect(result.hops).toEqual([{ by: 'remote', port: 80, local, peer: result.hops[0]?.peer }]);
      expect(result.hops[0]?.peer).toContain(from);
    }
  });

  test('pods reach each other, themselves and their loopback', async () => {
    for (const ip of [bank.ip4, bank.ip6]) {
      expect((await shop.dial(endpoint(ip, 80))).hops[0]?.by).toBe('bank/b');
    }
    for (const ip of ['127.0.0.1', '::1', shop.ip4, shop.ip6]) {
      expect((await shop.dial(endpoint(ip, 8080))).hops[0]).toMatchObject({ by: 'shop/a', port: 8080 });
    }
  });

  test('the kubelet and the other node reach a pod', async () => {
    const remote = await node.remote.client();
    for (const ip of [shop.ip4, shop.ip6]) {
      expect((await kubelet.dial(endpoint(ip, 80))).hops[0]?.by).toBe('shop/a');
      expect((await remote.dial(endpoint(ip, 80))).hops[0]?.by).toBe('shop/a');
    }
  });

  test.each<DialMethod>(['plain', 'nonblock'])(
    'a refused dial by %s says so, and its socket connects to a second address',
    async (method) => {
      const to = endpoint(node.remote.ip4, 80);
      const refused = await shop.dial(endpoint(node.remote.ip4, 9), { second: to, method });
      expect(refused).toMatchObject({
        ok: false,
        error: 'ECONNREFUSED',
        hops: [],
        second: { ok: true, to, peername: to },
      });
      const ended = await shop.dial(endpoint(bank.ip4, 80), { second: to, method });
      expect(ended.hops[0]?.by).toBe('bank/b');
      expect(ended.second?.hops[0]?.by).toBe('remote');
    },
  );

  test('a dial binds first, sets a mark, and connects UDP without sending', async () => {
    const to = endpoint(node.remote.ip4, 80);
    expect((await shop.dial(to, { bind: `${shop.ip4}:12345`, mark: 7 })).hops[0]?.peer).toBe(`${shop.ip4}:12345`);
    expect((await shop.dial(`[::ffff:${node.remote.ip4}]:80`, { bind: `${shop.ip4}:12346` })).ok).toBe(true);
    expect(await shop.dial(endpoint(node.remote.ip4, 53), { method: 'udp' })).toMatchObject({
      ok: true,
      peername: `${node.remote.ip4}:53`,
      hops: [],
    });
  });

  test('two sockets of one source are connected at once, and a late port is chosen by the connect', async () => {
    for (const [own, first, second] of [
      [shop.ip4, endpoint(node.remote.ip4, 80), endpoint(node.remote.ip4, 8080)],
      [shop.ip6, endpoint(node.remote.ip6, 80), endpoint(bank.ip6, 80)],
    ] as const) {
      const result = await shop.dial(first, { bind: endpoint(own, 12_347), beside: second });
      expect(result).toMatchObject({ sockname: endpoint(own, 12_347), hops: [{ peer: endpoint(own, 12_347) }] });
      expect(result.beside).toMatchObject({ to: second, hops: [{ peer: endpoint(own, 12_347) }] });
      const late = await shop.dial(first, { bind: endpoint(own, 0), latePort: true, beside: first });
      expect(late.ok && late.beside?.ok).toBe(true);
      expect(late.sockname).not.toBe(late.beside?.sockname);
    }
  });

  test('a dial reports the mark and the device that its socket has afterwards', async () => {
    const to = endpoint(node.remote.ip4, 80);
    expect(await shop.dial(to)).toMatchObject({ ok: true, mark: 0, device: '' });
    expect(await shop.dial(to, { mark: 0x7fffffff, device: 'eth0' })).toMatchObject({
      ok: true,
      mark: 0x7fffffff,
      device: 'eth0',
    });
    expect(await shop.dial(to, { device: 'lo', timeout: 50 })).toMatchObject({ ok: false, hops: [] });
    expect(await shop.dial(to, { device: 'none' })).toMatchObject({ error: 'ENODEV' });
  });

  test('a transparent socket dials from an address that nobody has', async () => {
    for (const [to, bind] of [
      [endpoint(node.remote.ip4, 80), '192.0.2.7:0'],
      [endpoint(node.remote.ip6, 80), '[2001:db8::7]:0'],
    ] as const) {
      expect(await shop.dial(to, { bind })).toMatchObject({ error: 'EADDRNOTAVAIL' });
      // The answer goes nowhere.
      const result = await shop.dial(to, { bind, transparent: true, timeout: 50 });
      expect(result).toMatchObject({ error: 'ETIMEDOUT', hops: [] });
    }
  });

  test('a further device carries what is bound to it, from its own addresses', async () => {
    const pod = await node.pod({ name: 'two-devices' });
    const net1 = await pod.addDevice('net1');
    for (const [to, own, other] of [
      [endpoint(node.remote.ip4, 80), pod.ip4, net1.ip4],
      [endpoint(node.remote.ip6, 80), pod.ip6, net1.ip6],
    ] as const) {
      expect((await pod.dial(to)).hops[0]?.peer).toContain(own);
      expect((await pod.dial(to, { device: 'net1' })).hops[0]?.peer).toContain(other);
    }
    await pod.delete();
  });

  test('a crowd of connections is open at once, and knows which of them broke', async () => {
    const [first, second] = [await shop.serve([7000], { echo: true }), await shop.serve([7001], { echo: true })];
    const targets = [endpoint(shop.ip4, 7000), endpoint(shop.ip6, 7001)];
    const crowd = await bank.crowd(targets, 200);
    expect(crowd.summary).toEqual({ count: 200, ok: 200, redirected: 0, wrongCount: 0, wrong: [] });
    expect(await crowd.echo()).toEqual({ alive: 200, broken: {} });
    await second.stop();
    const { alive, broken } = await crowd.echo();
    expect(alive).toBe(100);
    expect(Object.values(broken)).toEqual([100]);
    await crowd.stop();
    await first.stop();
  });

  test('a server without SO_REUSEADDR cannot start again while its old connections are about', async () => {
    const server = await shop.serve([7002], { echo: true, reuseAddress: false });
    const stream = await bank.stream(endpoint(shop.ip4, 7002));
    await expect(server.restart()).rejects.toThrow('Address already in use');
    await stream.ended;
    const reusing = await shop.serve([7003], { echo: true });
    const other = await bank.stream(endpoint(shop.ip4, 7003));
    await reusing.restart();
    await other.ended;
    await reusing.stop();
  });

  test('what cannot be dialled rejects, and the next dial works', async () => {
    await expect(shop.dial('nowhere')).rejects.toThrow("'nowhere' is not ip:port");
    await expect(shop.dial('1.2.3.4:5', { method: 'pigeon' as DialMethod })).rejects.toThrow('pigeon');
    expect((await shop.dial(endpoint(node.remote.ip4, 80))).ok).toBe(true);
  });

  test('without redirection the stand-in ztunnel reads its own address, and refuses to dial itself', async () => {
    for (const [ip, port] of [
      [ztunnel.ip4, 15001],
      [ztunnel.ip6, 15006],
    ] as const) {
      const { hops } = await shop.dial(endpoint(ip, port));
      expect(hops[0]).toMatchObject({ by: 'ztunnel', port, originalDst: endpoint(ip, port), originalDstFrom: 'local' });
      expect(hops[1]).toEqual({ error: 'self-call', detail: endpoint(ip, port) });
    }
    expect((await shop.dial(endpoint(ztunnel.ip4, 15008))).hops).toHaveLength(1);
    await ztunnel.until(({ accepted }) => accepted.length >= 3);
  });

  test('a container that starts later dials with its first instruction', async () => {
    const late = await shop.startContainer('late', ['dial', '--to', endpoint(node.remote.ip6, 443)]);
    expect(JSON.parse(await late.process.nextLine())).toMatchObject({ ok: true, hops: [{ by: 'remote', port: 443 }] });
    expect(await late.process.exited).toEqual({ code: 0, signal: null });
  });

  test('a campaign over few source ports reports nothing wrong, and a load none refused', async () => {
    const targets = [endpoint(node.remote.ip4, 80), endpoint(node.remote.ip4, 8080)];
    const campaign = { targets, ports: [20000, 20019] as const, count: 400 };
    expect(await shop.dialSourcePorts(campaign)).toEqual({
      count: 400,
      ok: 400,
      redirected: 0,
      wrongCount: 0,
      wrong: [],
    });
    const load = await shop.load(targets);
    for (let round = 0; round < 2; round++) await load.progress(3);
    const summary = await load.stop();
    expect(summary).toMatchObject({ refused: 0, errors: 0, redirected: 0, firstErrors: [] });
    expect(summary.attempts).toBeGreaterThanOrEqual(6);
  });

  test('processes are where a node has them', async () => {
    const where = async (pid: number): Promise<string> => {
      return /^0::(.*)$/m.exec(await readFile(`/proc/${pid}/cgroup`, 'utf8'))?.[1] ?? '';
    };
    expect(await where(shop.app.process.pid)).toContain(`/kubepods/besteffort/pod${shop.uid}/${shop.app.id}`);
    const uid = bank.uid.replaceAll('-', '_');
    expect(await where(bank.app.process.pid)).toContain(
      `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${uid}.slice/cri-containerd-${bank.app.id}.scope`,
    );
    expect(await where(kubelet.pid)).toMatch(/\/kubelet$/);
    expect(await readFile(`/proc/${kubelet.pid}/comm`, 'utf8')).toBe('kubelet\n');
  });
});
