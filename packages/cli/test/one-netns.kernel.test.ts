// The agent opens a pod's network namespace once, for all its parts, and closes it with the pod.
import { readdirSync, readlinkSync } from 'node:fs';
import { requires, type Pod } from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plumbingOf } from './in-pod-traces.js';
import { NodeAgent } from './node-agent.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
/** Often enough to see most of the passes, each of which takes some milliseconds. */
const LOOK_EVERY_MS = 2;
const ambient = { 'istio.io/dataplane-mode': 'ambient' };

/** What /proc shows for a descriptor of the namespace: `net:[4026532713]`. */
const shownAs = ({ netns }: Pod): string => readlinkSync(netns);

/** The network namespaces of which a process has descriptors, once for each descriptor. */
function openNetns(pid: number): string[] {
  const directory = `/proc/${pid}/fd`;
  return readdirSync(directory).flatMap((fd) => {
    try {
      const target = readlinkSync(`${directory}/${fd}`);
      return target.startsWith('net:') ? [target] : [];
    } catch {
      return []; // closed meanwhile
    }
  });
}

describe.skipIf(need.skip)(`a pod’s network namespace in the agent${need.label}`, () => {
  let host: NodeAgent;
  let shop: Pod;
  const held = (): string[] => openNetns(host.agent.process.pid);
  beforeAll(async () => {
    host = await NodeAgent.createInPod();
    host.node.kubernetes.setNamespace('shop', ambient);
    await host.node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket });
    shop = await host.node.pod({ namespace: 'shop', name: 'cart' });
    await host.agent.start();
    await host.becomes('cart', 'in');
  });
  afterAll(() => host?.node.close());

  it('has one descriptor, which is lent to the resolver, the datapath and ztunnel', async () => {
    const one = [shownAs(shop)];
    await expect.poll(held).toEqual(one);
    // A pass that a change asked for looks at everything again, and opens nothing.
    const other = await host.node.pod({ namespace: 'shop', name: 'other' });
    await host.becomes('other', 'in');
    const two = [shownAs(shop), shownAs(other)].toSorted();
    await expect.poll(() => held().toSorted()).toEqual(two);
    await other.delete();
    await expect.poll(held).toEqual(one);
  });

  it('has no descriptor once the pod has left the mesh, and one again when it is back', async () => {
    const name = shownAs(shop);
    for (let round = 0; round < 2; round++) {
      shop.update({ labels: { 'istio.io/dataplane-mode': 'none' } });
      await host.becomes('cart', 'out');
      await expect.poll(held).toEqual([]);
      shop.update({ labels: {} });
      await host.becomes('cart', 'in');
      await expect.poll(held).toEqual([name]);
    }
  });

  it('is opened once by the next agent, and restored if the pod left between the two agents', async () => {
    await host.agent.stop();
    shop.update({ labels: { 'istio.io/dataplane-mode': 'none' } });
    expect((await plumbingOf(shop)).join('\n')).toContain('lookup 100');
    await host.agent.start();
    await expect.poll(async () => (await plumbingOf(shop)).join('\n')).not.toContain('lookup 100');
    await expect.poll(held).toEqual([]);
    shop.update({ labels: {} });
    await host.becomes('cart', 'in');
    await host.agent.restart();
    await expect.poll(held).toEqual([shownAs(shop)]);
  });

  it('never has a second descriptor while pods start and end, and none of pods that ended', async () => {
    const own = shownAs(shop);
    const hosts = readlinkSync(host.node.netns.path);
    // The most descriptors that one pod's namespace had at any look.
    let most = 0;
    const looks = setInterval(() => {
      const counts = new Map<string, number>();
      for (const name of held()) if (name !== hosts) counts.set(name, (counts.get(name) ?? 0) + 1);
      most = Math.max(most, ...counts.values());
    }, LOOK_EVERY_MS);
    try {
      for (let round = 0; round < 5; round++) {
        const names = Array.from({ length: 10 }, (_, index) => `p${round}-${index}`);
        const pods = await Promise.all(names.map((name) => host.node.pod({ namespace: 'shop', name })));
        for (const name of names) await host.becomes(name, 'in');
        const all = [own, ...pods.map(shownAs)].toSorted();
        await expect.poll(() => held().toSorted()).toEqual(all);
        await Promise.all(pods.map((pod) => pod.delete()));
      }
      await expect.poll(held).toEqual([own]);
    } finally {
      clearInterval(looks);
    }
    expect(most).toBe(1);
  });
});
