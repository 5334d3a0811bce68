// ztunnel is rolled out: a new one starts beside the old one, becomes Ready, and the old one ends.
import { join } from 'node:path';
import { InstalledDatapath } from '@sluice/datapath';
import { endpoint, requires } from '@sluice/testbed';
import { describe, expect, it } from 'vitest';
import { NodeAgent } from './node-agent.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');

describe.skipIf(need.skip)(`a rollout of ztunnel${need.label}`, () => {
  it('refuses no connection, and redirects none that either ztunnel makes', async () => {
    await using host = await NodeAgent.create();
    const { node } = host;
    node.kubernetes.setNamespace('shop', { 'istio.io/dataplane-mode': 'ambient' });
    const former = await node.ztunnel({ name: 'ztunnel-a' });
    const shop = await node.pod({ namespace: 'shop', name: 'cart', serve: [8080] });
    await host.agent.start();
    const used = (): string | undefined => {
      using installed = InstalledDatapath.open(join(host.bpffs, 'sluice'));
      return installed.read().settings.ztunnelIPv4;
    };
    const isKnown = (name: string): boolean => host.status().state.ztunnels.pods.some((pod) => pod.name === name);
    const load = await shop.load([endpoint(node.remote.ip4, 80), endpoint(node.remote.ip6, 80)]);

    const next = await node.ztunnel({ name: 'ztunnel-b', publish: false });
    next.setReady(false);
    await expect.poll(() => isKnown('ztunnel-b')).toBe(true);
    expect(used()).toBe(former.ip4);
    for (const { pod } of [former, next])
      expect((await pod.dial(endpoint(shop.ip4, 8080))).hops.map(({ by }) => by)).toEqual(['shop/cart']);

    next.setReady(true);
    former.setReady(false);
    await expect.poll(used).toBe(next.ip4);
    // The old ztunnel still dials for the connections that it carries.
    for (const { pod } of [former, next])
      expect((await pod.dial(endpoint(shop.ip4, 8080))).hops.map(({ by }) => by)).toEqual(['shop/cart']);
    await load.progress(2);
    const summary = await load.stop();
    await former.pod.delete();
    expect(summary).toMatchObject({ refused: 0, direct: 0, errors: 0 });
    expect(used()).toBe(next.ip4);
    expect((await shop.dial(endpoint(node.remote.ip4, 80))).hops[0]?.by).toBe('ztunnel-b');

    await next.pod.delete();
    await expect.poll(used).toBeUndefined();
    const refused = await shop.dial(endpoint(node.remote.ip4, 80));
    expect(refused).toMatchObject({ ok: false, error: 'ECONNREFUSED' });
  });
});
