// Network namespaces inside a pod of the mesh, such as a nested container engine's.
import { endpoint, requires, type DialResult } from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NodeAgent } from './node-agent.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
const ambient = { 'istio.io/dataplane-mode': 'ambient' };
const wayOf = (result: DialResult): string => (result.ok ? result.hops.map(({ by }) => by).join(' > ') : result.error);

describe.skipIf(need.skip)(`namespaces inside a pod in the mesh${need.label}`, () => {
  let host: NodeAgent;
  const outside = (): string => endpoint(host.node.remote.ip4, 80);

  beforeAll(async () => {
    // No look at everything comes to help.
    host = await NodeAgent.createInPod({ resyncInterval: '1h' });
    host.node.kubernetes.setNamespace('shop', ambient);
    await host.node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket });
    await host.agent.start();
  });
  afterAll(() => host?.node.close());

  it('are not captured as soon as they are known, and those that come soon after another one are known, too', async () => {
    const pod = await host.node.pod({ namespace: 'shop', name: 'engine' });
    await host.becomes('engine', 'in');
    for (let i = 0; i < 3; i++) {
      const nested = await pod.nestedNetns();
      await expect.poll(async () => wayOf(await nested.dial(outside()))).toBe('remote');
    }
    expect(wayOf(await pod.dial(outside()))).toBe('ztunnel > remote');
  });

  it('are refused beyond those that there is room for, which the pod is told', async () => {
    const pod = await host.node.pod({ namespace: 'shop', name: 'greedy' });
    const other = await host.node.pod({ namespace: 'shop', name: 'other' });
    for (const { name } of [pod, other]) await host.becomes(name, 'in');
    const nested = [];
    for (let i = 0; i < 18; i++) nested.push(await pod.nestedNetns());
    await expect
      .poll(() => host.workload('greedy')?.problems)
      .toEqual([
        'there are 18 network namespaces inside of it, and room for 16: what is dialled in the others is refused; make fewer of them',
      ]);
    const ways = await Promise.all(nested.map(async (one) => wayOf(await one.dial(outside()))));
    expect(ways.filter((way) => way === 'remote')).toHaveLength(16);
    expect(ways.filter((way) => way === 'ECONNREFUSED')).toHaveLength(2);
    for (const one of [pod, other]) expect(wayOf(await one.dial(outside()))).toBe('ztunnel > remote');
  });
});
