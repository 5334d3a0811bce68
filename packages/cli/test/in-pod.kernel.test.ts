// inPod mode on a real kernel: the built command, a node in namespaces, a ztunnel that is told of pods over ZDS.
import { join } from 'node:path';
import { endpoint, requires, type DialResult, type Pod, type StandInZtunnel } from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NodeAgent } from './node-agent.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
const ambient = { 'istio.io/dataplane-mode': 'ambient' };
const wayOf = (result: DialResult): string => (result.ok ? result.hops.map(({ by }) => by).join(' > ') : result.error);

describe.skipIf(need.skip)(`the agent in inPod mode${need.label}`, () => {
  let host: NodeAgent;
  let ztunnel: StandInZtunnel;
  let shop: Pod;
  beforeAll(async () => {
    host = await NodeAgent.createInPod();
    host.node.kubernetes.setNamespace('shop', ambient);
    ztunnel = await host.node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket });
    shop = await host.node.pod({ namespace: 'shop', name: 'cart', serve: [8080] });
    await host.agent.start();
    await host.becomes('cart', 'in');
  });
  afterAll(() => host?.node.close());

  it('takes what the pod dials and what comes to it to ztunnel', async () => {
    const to = endpoint(host.node.remote.ip4, 80);
    const out = await shop.dial(to);
    expect(wayOf(out)).toBe('ztunnel > remote');
    expect(out.hops[0]).toMatchObject({ port: 15001, originalDst: to });
    const into = await host.node.remote.dial(endpoint(shop.ip4, 8080));
    expect(wayOf(into)).toBe('ztunnel > shop/cart');
    expect(join(ztunnel.pod.name)).toBe('ztunnel');
  });
});
