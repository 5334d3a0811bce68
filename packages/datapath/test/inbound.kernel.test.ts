// What comes in to a pod with its own ztunnel, through real sockets: who accepts it, and what the acceptor sees of it.
import { netnsCookie } from '@sluice/linux';
import { endpoint, requires, type HostProcess, type Pod } from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { InboundReason } from '../src/index.js';
import { InPodNode } from './in-pod-node.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');

describe.skipIf(need.skip)(`what comes in to a pod${need.label}`, () => {
  let world: InPodNode;
  let pod: Pod;
  let client: HostProcess;
  let host: HostProcess;
  let kubelet: HostProcess;

  beforeAll(async () => {
    world = await InPodNode.create();
    const { node } = world.mesh;
    client = await node.remote.client();
    host = await node.hostProcess();
    kubelet = await node.kubelet();
    world.mesh.setKubelet(kubelet);
    pod = await world.pod({ name: 'a', serve: [80] });
  });
  afterAll(async () => world?.close());

  const acceptors = async (from: Pick<HostProcess, 'dial'>, to: string): Promise<(string | undefined)[]> =>
    (await from.dial(to)).hops.map(({ by }) => by);
  const count = (reason: InboundReason): bigint =>
    world.mesh.datapath.counters().inbound.find((row) => row.reason === reason)?.count ?? 0n;

  it.each(['ip4', 'ip6'] as const)(
    'from another node: ztunnel accepts it as if it were the application, %s',
    async (family) => {
      for (const port of [80, 81]) {
        const result = await client.dial(endpoint(pod[family], port));
        expect(result.hops[0]).toMatchObject({
          by: 'ztunnel',
          port: 15006,
          local: endpoint(pod[family], port),
          peer: result.sockname,
          originalDst: endpoint(pod[family], port),
        });
      }
      const { hops } = await client.dial(endpoint(pod[family], 80));
      expect(hops[1]).toMatchObject({ by: 'default/a', local: endpoint(pod[family], 80) });
    },
  );

  it('from the host: the same', async () => {
    for (const to of [endpoint(pod.ip4, 80), `[::ffff:${pod.ip4}]:80`, endpoint(pod.ip6, 80)]) {
      expect(await acceptors(host, to)).toEqual(['ztunnel', 'default/a']);
    }
  });

  it("the kubelet's probes reach the application directly, from the node's own address", async () => {
    const before = count('exempt');
    for (const to of [endpoint(pod.ip4, 80), `[::ffff:${pod.ip4}]:80`, endpoint(pod.ip6, 80)]) {
      const result = await kubelet.dial(to);
      expect(result.hops).toMatchObject([
        { by: 'default/a', peer: result.sockname.replace(/^\[::ffff:(.*)\]:/, '$1:') },
      ]);
    }
    expect(count('exempt') - before).toBe(3n);
  });

  it('HBONE is left alone', async () => {
    const before = count('hbone');
    const result = await client.dial(endpoint(pod.ip4, 15008));
    expect(result.hops).toMatchObject([{ by: 'ztunnel', port: 15008 }]);
    expect(count('hbone') - before).toBe(1n);
  });

  it('the pod reaches itself, and its redirected connections reach its own ztunnel', async () => {
    for (const to of ['127.0.0.1:80', endpoint(pod.ip4, 80), endpoint(pod.ip6, 80)]) {
      expect(await acceptors(pod, to)).toEqual(['default/a']);
    }
    const { ip4, ip6 } = world.mesh.node.remote;
    for (const ip of [ip4, ip6]) {
      const before = count('outbound-listener');
      const { hops } = await pod.dial(endpoint(ip, 80));
      expect(hops).toMatchObject([{ by: 'ztunnel', port: 15001, originalDst: endpoint(ip, 80) }, { by: 'remote' }]);
      expect(count('outbound-listener') - before).toBe(1n);
    }
  });

  it('without a listener it is refused, and counted', async () => {
    const bare = await world.mesh.node.pod({ name: 'bare', serve: [80] });
    world.enrol(bare);
    const before = count('no-listener');
    for (const ip of bare.ips) expect(await client.dial(endpoint(ip, 80))).toMatchObject({ error: 'ECONNREFUSED' });
    expect(count('no-listener') - before).toBe(2n);
    await world.serve(bare);
    expect(await acceptors(client, endpoint(bare.ip4, 80))).toEqual(['ztunnel', 'default/bare']);
    world.withdraw(bare);
    await world.ztunnel.event('removed', (event) => event.pod === bare.uid);
    expect(await client.dial(endpoint(bare.ip4, 80))).toMatchObject({ error: 'ECONNREFUSED' });
    // As soon as its entry says so, the pod is out of the mesh; without the program it stays so.
    world.mesh.leave(bare);
    world.mesh.apply();
    expect(await acceptors(client, endpoint(bare.ip4, 80))).toEqual(['default/bare']);
    expect(world.mesh.datapath.detachNetns(netnsCookie(bare.netns))).toBe(true);
    expect(await acceptors(client, endpoint(bare.ip4, 80))).toEqual(['default/bare']);
  });
});
