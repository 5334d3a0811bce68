// More pods than the maps are made for, on a real node.
import { endpoint, requires, type DialResult, type Pod } from '@sluice/testbed';
import { describe, expect, it } from 'vitest';
import { NodeAgent } from './node-agent.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
const ambient = { 'istio.io/dataplane-mode': 'ambient' };
const wayOf = (result: DialResult): string => (result.ok ? result.hops.map(({ by }) => by).join(' > ') : result.error);

describe.skipIf(need.skip)(`capacities for ten pods, and twelve pods${need.label}`, () => {
  // A pod has three cgroups here (its own, its sandbox and one container) and two addresses.
  it.each([{ cgroups: 30 }, { netns: 10 }, { localPods: 20 }, { excludedPorts: 10 }])(
    '%j: two are pending with the reason, held both ways, and nobody else is affected',
    async (capacities) => {
      await using host = await NodeAgent.createInPod({
        metrics: { listen: '127.0.0.1:0' },
        capacities,
        // Otherwise their connections wait.
        policy: { pending: 'refuse' },
      });
      host.node.kubernetes.setNamespace('shop', ambient);
      const kubelet = await host.node.kubelet();
      const ztunnel = await host.node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket });
      await host.agent.start();
      const pods: Pod[] = [];
      const annotations = { 'traffic.sidecar.istio.io/excludeOutboundPorts': '9000' };
      for (let i = 0; i < 12; i++)
        pods.push(await host.node.pod({ namespace: 'shop', name: `p${i}`, serve: [8080], annotations }));
      const states = (): string[] => pods.map(({ name }) => host.workload(name)?.state ?? '');
      await expect.poll(() => states().filter((state) => state === 'in').length).toBe(10);
      await expect.poll(() => states().filter((state) => state === 'pending').length).toBe(2);
      const [name = ''] = Object.keys(capacities);
      const without = pods.filter((_, i) => states()[i] === 'pending');
      expect(without).toHaveLength(2);
      const outside = endpoint(host.node.remote.ip4, 80);
      for (const pod of pods) {
        const isIn = !without.includes(pod);
        expect(wayOf(await pod.dial(outside)), pod.name).toBe(isIn ? 'ztunnel > remote' : 'ECONNREFUSED');
        const into = wayOf(await host.node.remote.dial(endpoint(pod.ip4, 8080)));
        expect(into, pod.name).toBe(isIn ? `ztunnel > shop/${pod.name}` : 'ECONNREFUSED');
        expect(wayOf(await kubelet.dial(endpoint(pod.ip4, 8080)))).toBe(`shop/${pod.name}`);
      }
      for (const pod of without)
        expect(host.workload(pod.name)?.reason).toMatch(
          new RegExp(`^pending: there is no room for it: .*capacities.${name}`),
        );
      // A ztunnel that comes later has room.
      const second = await host.node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket, name: 'ztunnel-b' });
      await expect.poll(async () => (await pods[0]?.dial(outside))?.hops[0]?.by).toBe('ztunnel-b');
      expect(wayOf(await second.pod.dial(outside))).toBe('remote');
      await ztunnel.stop();
      // When a pod goes, one of the two has its room.
      await pods[0]?.delete();
      await expect.poll(() => states().filter((state) => state === 'in').length).toBe(10);
      await host.agent.stop();
    },
  );
});
