// Where an agent in inPod mode attaches programs, from its start to its end, and who is seen there.
import { readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { withReserve } from '@sluice/ambient-agent';
import { Datapath, defaultCapacities } from '@sluice/datapath';
import { BpfLink, queryCgroup } from '@sluice/libbpf';
import { endpoint, requires, type Cgroup, type DialResult } from '@sluice/testbed';
import { describe, expect, it } from 'vitest';
import { NodeAgent } from './node-agent.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
const ambient = { 'istio.io/dataplane-mode': 'ambient' };
const wayOf = (result: DialResult): string => (result.ok ? result.hops.map(({ by }) => by).join(' > ') : result.error);
const connects = ({ path }: Cgroup): number => queryCgroup(path, 'cgroup_inet4_connect').programs.length;
const sockops = ({ path }: Cgroup): number => queryCgroup(path, 'cgroup_sock_ops').programs.length;

describe.skipIf(need.skip).each(['route', 'rewrite'])(
  `where the agent attaches programs, by %s${need.label}`,
  (capture) => {
    async function create(): Promise<NodeAgent> {
      const host = await NodeAgent.createInPod({ resyncInterval: '1s', capture });
      host.node.kubernetes.setNamespace('shop', ambient);
      return host;
    }
    const kubepods = (host: NodeAgent): Cgroup => host.node.cgroup.child('kubepods');
    const outside = (host: NodeAgent): string => endpoint(host.node.remote.ip4, 80);

    it('is the configured cgroup until there is a pod, and the pods’ cgroup from then on', async () => {
      await using host = await create();
      await host.agent.start();
      expect(connects(host.node.cgroup)).toBe(1);
      await host.node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket });
      const pod = await host.node.pod({ namespace: 'shop', name: 'cart' });
      await host.becomes('cart', 'in');
      expect([connects(host.node.cgroup), connects(kubepods(host))]).toEqual([0, 1]);
      expect(wayOf(await pod.dial(outside(host)))).toBe('ztunnel > remote');
      // The kubelet keeps the cgroup while it has no pods.
      await pod.delete();
      await expect.poll(() => host.workload('cart')).toBeUndefined();
      expect([connects(host.node.cgroup), connects(kubepods(host))]).toEqual([0, 1]);
      await host.agent.stop();
    });

    it('sees whoever is in the pod’s cgroup, and nobody who only entered its network namespace', async () => {
      await using host = await create();
      await host.node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket });
      const pod = await host.node.pod({ namespace: 'shop', name: 'cart' });
      await host.agent.start();
      await host.becomes('cart', 'in');
      const debug = await pod.startContainer('debug');
      expect(wayOf(await debug.dial(outside(host)))).toBe('ztunnel > remote');
      const entered = await host.node.nsenter(pod);
      expect(wayOf(await entered.dial(outside(host)))).toBe('remote');
      // A kubelet that starts later.
      const kubelet = await host.node.kubelet();
      await expect.poll(() => [connects(kubelet.cgroup), sockops(kubelet.cgroup)]).toEqual([1, 1]);
      await host.agent.stop();
    });

    it('is put right when somebody has detached a program, while the agent runs', async () => {
      await using host = await create();
      await host.node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket });
      const pod = await host.node.pod({ namespace: 'shop', name: 'cart' });
      await host.agent.start();
      await host.becomes('cart', 'in');
      {
        using link = BpfLink.openPinned(join(host.bpffs, `sluice/links/sluice_connect4-${kubepods(host).id}`));
        link.detach();
      }
      await expect.poll(() => connects(kubepods(host))).toBe(1);
      expect(wayOf(await pod.dial(outside(host)))).toBe('ztunnel > remote');
      await host.agent.stop();
    });

    it('is taken over from a version that attached everything to the root, and no connection is lost or direct', async () => {
      await using host = await create();
      await host.node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket });
      const pod = await host.node.pod({ namespace: 'shop', name: 'cart', serve: [8080] });
      await host.agent.start();
      await host.becomes('cart', 'in');
      await host.agent.kill9();
      const pinDirectory = join(host.bpffs, 'sluice');
      {
        using former = Datapath.open({
          pinDirectory,
          cgroup: host.node.cgroup.path,
          capacities: withReserve(defaultCapacities),
        });
        former.activate();
      }
      const links = join(pinDirectory, 'links');
      for (const name of readdirSync(links).filter((each) => each.startsWith('sluice_')))
        renameSync(join(links, name), join(links, name.replace(/-\d+$/, '')));
      expect([connects(host.node.cgroup), connects(kubepods(host))]).toEqual([1, 0]);
      const out = await pod.load([outside(host), endpoint(host.node.remote.ip6, 80)]);
      const into = await host.node.remote.load(pod.ips.map((ip) => endpoint(ip, 8080)));
      await host.agent.start();
      expect([connects(host.node.cgroup), connects(kubepods(host))]).toEqual([0, 1]);
      await Promise.all([out.progress(10), into.progress(10)]);
      for (const load of [out, into]) {
        const summary = await load.stop();
        expect(summary).toMatchObject({ refused: 0, direct: 0, errors: 0, redirected: summary.attempts });
      }
      await host.agent.stop();
      const { stdout } = await host.sluice('cleanup');
      expect(stdout).toContain(`detached  sluice_connect4-${kubepods(host).id}`);
      expect(connects(kubepods(host))).toBe(0);
    });
  },
);
