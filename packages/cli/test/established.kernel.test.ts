// Connections that were established before their pod was in the mesh: whatever the agent and ztunnel do, they stay as they are.
import { Crowd, endpoint, requires, type Agent, type Pod } from '@sluice/testbed';
import { describe, expect, it } from 'vitest';
import { NodeAgent } from './node-agent.js';
import { SLUICE } from './program.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
const ambient = { 'istio.io/dataplane-mode': 'ambient' };
const ECHO = 9000;
/** Of them, in each direction. */
const EACH_WAY = 500;

describe.skipIf(need.skip)(`1000 established connections of a pod${need.label}`, () => {
  it.each(['route', 'rewrite'])(
    'outlive the label, both ways, restarts of ztunnel and an exchange of agents; capture: %s',
    async (capture) => {
      await using host = await NodeAgent.createInPod({ lock: 'wait', capture });
      const { node } = host;
      node.kubernetes.setNamespace('shop', {});
      node.kubernetes.setNamespace('plain', {});
      let ztunnel = await node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket });
      const shop = await node.pod({ namespace: 'shop', name: 'cart', serve: [8080] });
      const client = await node.pod({ namespace: 'plain', name: 'client' });
      await shop.serve([ECHO], { echo: true });
      await node.remote.serve([ECHO], { echo: true });
      await host.agent.start();

      const crowds: readonly Crowd[] = await Promise.all([
        shop.crowd([endpoint(node.remote.ip4, ECHO), endpoint(node.remote.ip6, ECHO)], EACH_WAY),
        client.crowd([endpoint(shop.ip4, ECHO), endpoint(shop.ip6, ECHO)], EACH_WAY / 2),
        Crowd.start(node.remote, [endpoint(shop.ip4, ECHO), endpoint(shop.ip6, ECHO)], EACH_WAY / 2),
      ]);
      for (const { summary } of crowds) expect(summary).toMatchObject({ ok: summary.count, redirected: 0 });
      const allAlive = async (after: string): Promise<void> => {
        const echoed = await Promise.all(crowds.map((crowd) => crowd.echo()));
        const alive = [EACH_WAY, EACH_WAY / 2, EACH_WAY / 2].map((count) => ({ alive: count, broken: {} }));
        expect(echoed, after).toEqual(alive);
      };
      const inMesh = async (pod: Pod): Promise<void> => {
        await host.becomes('cart', 'in');
        await expect.poll(async () => (await pod.dial(endpoint(node.remote.ip4, 80))).hops[0]?.by).toBe('ztunnel');
      };
      await allAlive('their start');

      node.kubernetes.setNamespace('shop', ambient);
      await inMesh(shop);
      await allAlive('the label');

      await ztunnel.kill9();
      await allAlive('the death of ztunnel');
      await ztunnel.start();
      await inMesh(shop);
      await allAlive('its restart');

      const next = await node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket, name: 'ztunnel-next' });
      await next.event('ready');
      await ztunnel.stop();
      await ztunnel.pod.delete();
      ztunnel = next;
      await allAlive('another ztunnel');

      const successor: Agent = node.agent({
        command: [process.execPath, SLUICE, 'run', '--config', host.configPath],
        ready: /"msg":"standing by/,
      });
      await successor.start();
      await host.agent.kill9();
      await successor.process.lineMatching(/"msg":"ready"/);
      await expect.poll(() => host.status().state.agent.pid).toBe(successor.process.pid);
      await allAlive('an exchange of agents');

      node.kubernetes.setNamespace('shop', {});
      await host.becomes('cart', 'out');
      await expect.poll(async () => (await shop.dial(endpoint(node.remote.ip4, 80))).hops[0]?.by).toBe('remote');
      await allAlive('the end of the label');
      expect(ztunnel.protocolErrors).toEqual([]);
    },
  );
});
