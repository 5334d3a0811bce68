// Pods that are unlike the others: one family, more addresses, namespaces inside; and what their applications can do.
import { readFile, readlink } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DNS_ANSWERS, endpoint, requires, TestNode, type Pod } from '../src/index.js';

const need = requires('root', 'cgroup2', 'netns');

describe.skipIf(need.skip)(`pods of all kinds${need.label}`, () => {
  let node: TestNode;
  let shop: Pod;

  beforeAll(async () => {
    node = await TestNode.create();
    shop = await node.pod({ namespace: 'shop', name: 'a', serve: [8080] });
  });
  afterAll(() => node?.close());

  test('with only IPv4 or only IPv6', async () => {
    const v4 = await node.pod({ name: 'v4', families: [4], serve: [80] });
    const v6 = await node.pod({ name: 'v6', families: [6], serve: [80] });
    expect(v4.ips).toEqual([v4.ip4]);
    expect(v6.ips).toEqual([v6.ip6]);
    expect(() => v6.ip4).toThrow('pod default/v6 has no IPv4 address');
    expect(v6.manifest()).toMatchObject({ status: { podIP: v6.ip6, podIPs: [{ ip: v6.ip6 }] } });
    expect((await v4.dial(endpoint(shop.ip4, 8080))).hops[0]?.peer).toContain(v4.ip4);
    expect((await v4.dial(endpoint(shop.ip6, 8080))).error).toBe('ENETUNREACH');
    expect((await v6.dial(endpoint(shop.ip6, 8080))).hops[0]?.peer).toContain(v6.ip6);
    expect((await v6.dial(endpoint(shop.ip4, 8080))).error).toBe('ENETUNREACH');
    expect((await node.remote.dial(endpoint(v6.ip6, 80))).hops[0]?.by).toBe('default/v6');
  });

  test('with addresses that Kubernetes does not know of', async () => {
    for (const [ip, device] of [
      ['10.66.0.9', 'eth0'],
      ['fd66::9', 'eth0'],
      ['100.64.0.7', 'tailscale0'],
      ['fd7a::7', 'tailscale0'],
      ['100.64.0.8', 'lo'],
    ] as const) {
      await shop.addAddress(ip, device);
      const { sockname, hops } = await node.remote.dial(endpoint(ip, 8080));
      expect(hops).toEqual([{ by: 'shop/a', port: 8080, local: endpoint(ip, 8080), peer: sockname }]);
    }
  });

  test('with a namespace inside, whose processes are the pod’s only by their cgroup', async () => {
    const nested = await shop.nestedNetns();
    const { pid } = nested.container.process;
    expect(await readFile(`/proc/${pid}/cgroup`, 'utf8')).toContain(`pod${shop.uid}/${shop.app.id}\n`);
    expect(await readlink(`/proc/${pid}/ns/net`)).not.toBe(await readlink(shop.netns));
    for (const [to, from] of [
      [node.remote.ip4, nested.ip4],
      [node.remote.ip6, nested.ip6],
      [shop.ip4, nested.ip4],
    ] as const) {
      const { hops, ok } = await nested.dial(endpoint(to, to === shop.ip4 ? 8080 : 80));
      expect(ok).toBe(true);
      expect(hops[0]?.peer).toContain(from ?? 'no address');
    }
  });

  test('with a process that only entered the pod’s namespace', async () => {
    const entered = await node.nsenter(shop);
    expect(await readlink(`/proc/${entered.pid}/ns/net`)).toBe(await readlink(shop.netns));
    expect(await readFile(`/proc/${entered.pid}/cgroup`, 'utf8')).toMatch(/\/system\n/);
    expect((await entered.dial(endpoint(node.remote.ip4, 80))).hops[0]?.peer).toContain(shop.ip4);
    await entered.close();
  });

  test('a server is started again on its port, and reports who has the port if that fails', async () => {
    const server = await shop.serve([9000]);
    const before = server.pid;
    await server.restart();
    expect(server.pid).not.toBe(before);
    expect((await node.remote.dial(endpoint(shop.ip4, 9000))).ok).toBe(true);
    await expect(shop.serve([9000])).rejects.toThrow('Address already in use');
    await shop.server.restart();
    expect((await node.remote.dial(endpoint(shop.ip4, 8080))).ok).toBe(true);
  });

  test('a stream carries data both ways, and knows how it ended', async () => {
    const server = await node.remote.serve([7000], { echo: true });
    // A dial hears who accepted it, and leaves.
    expect((await shop.dial(endpoint(node.remote.ip4, 7000))).hops).toMatchObject([{ by: 'remote', echo: true }]);
    const kept = await shop.stream(endpoint(node.remote.ip4, 7000));
    expect(kept.hops).toMatchObject([{ by: 'remote', port: 7000, echo: true }]);
    await kept.progress(3);
    const end = await kept.stop();
    expect(end).toMatchObject({ broken: '', bytes: end.rounds * 1024 });
    expect(end.rounds).toBeGreaterThanOrEqual(3);
    const broken = await shop.stream(endpoint(node.remote.ip6, 7000));
    await server.stop();
    expect((await broken.ended).broken).toMatch(/^(EOF|ECONNRESET|EPIPE)$/);
    await expect(shop.stream(endpoint(node.remote.ip4, 7000))).rejects.toThrow('ECONNREFUSED');
    await expect(broken.progress()).rejects.toThrow();
  });

  test.each([
    ['udp', false],
    ['udp', true],
    ['tcp', undefined],
  ] as const)('names are resolved by %s, connected: %s', async (protocol, connected) => {
    for (const server of node.remote.hosts)
      for (const type of ['A', 'AAAA'] as const) {
        const asked = { server, protocol, type, ...(connected === undefined ? {} : { connected }) };
        const found = await shop.resolve(asked);
        const from = endpoint(server, 53);
        expect(found).toMatchObject({ answer: DNS_ANSWERS.remote[type], by: 'remote', from, error: '' });
        expect(found.peername).toBe(connected === false ? '' : from);
      }
  });

  test('one socket asks several servers, of both families as musl does; a dead one is named', async () => {
    const { ip4, ip6, hosts } = node.remote;
    const all = await shop.resolve({ server: [ip4, ip6] });
    expect(all.answers.map(({ server }) => server).toSorted()).toEqual(
      [endpoint(ip4, 53), endpoint(ip6, 53)].toSorted(),
    );
    expect(all.answers.map(({ from }) => from).toSorted()).toEqual(
      [`[::ffff:${ip4}]:53`, endpoint(ip6, 53)].toSorted(),
    );
    const refused = await shop.resolve({ server: endpoint(hosts[0] ?? '', 54), connected: true });
    expect(refused).toMatchObject({ error: 'ECONNREFUSED', answer: '', by: '', answers: [] });
    expect(await shop.resolve({ server: endpoint(ip4, 54), protocol: 'tcp' })).toMatchObject({ error: 'ECONNREFUSED' });
  });
});
