// More pods than even the entries that hold pods without room suffice for, on a real node.
import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { Cgroup, endpoint, requires, type DialResult } from '@sluice/testbed';
import { describe, expect, it } from 'vitest';
import { NodeAgent } from './node-agent.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
const ambient = { 'istio.io/dataplane-mode': 'ambient' };
/** More than by how many entries the maps are larger than the capacities (`withReserve`). */
const CROWD = 460;
/** Milliseconds: what is held would wait for longer than the test. */
const IMPATIENT = 300;

const wayOf = (result: DialResult): string => (result.ok ? result.hops.map(({ by }) => by).join(' > ') : result.error);

/** Pods of the namespace `crowd`, each of which is one process in a cgroup and a network namespace of its own. */
class Crowd implements Disposable {
  readonly #cgroups: readonly Cgroup[];
  readonly #starter: ChildProcess;

  constructor({ node }: NodeAgent, count: number) {
    this.#cgroups = Array.from({ length: count }, (_, i) => {
      const uid = randomUUID();
      const metadata = { name: `p${i}`, namespace: 'crowd', uid };
      node.kubernetes.write({ apiVersion: 'v1', kind: 'Pod', metadata, spec: { nodeName: node.name, containers: [] } });
      return new Cgroup(join(node.cgroup.path, 'kubepods', `pod${uid}`));
    });
    const places = this.#cgroups.map((cgroup) => join(cgroup.child('c').path, 'cgroup.procs'));
    const script = 'for place; do sh -c \'echo $$ > "$0"; exec unshare -n sleep inf\' "$place" & done; wait';
    this.#starter = spawn('sh', ['-c', script, 'sh', ...places], { stdio: 'ignore' });
  }

  [Symbol.dispose](): void {
    for (const cgroup of this.#cgroups) cgroup.remove();
    this.#starter.kill();
  }
}

/** A node on which there are no more entries than the crowd takes, whose namespace `shop` has the labels. */
async function smallNode(labels: Record<string, string>): Promise<NodeAgent> {
  const host = await NodeAgent.createInPod({ capacities: { cgroups: 1, netns: 1 } });
  host.node.kubernetes.setNamespace('crowd', ambient);
  host.node.kubernetes.setNamespace('shop', labels);
  await host.node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket });
  return host;
}

/** Starts the agent; fulfilled when it knows all of the crowd. */
async function startWithCrowd(host: NodeAgent): Promise<void> {
  await host.agent.start();
  const isSeen = ({ namespace, netnsCookie }: { namespace: string; netnsCookie?: string | undefined }): boolean =>
    namespace === 'crowd' && netnsCookie !== undefined;
  await expect.poll(() => host.status().state.workloads.filter(isSeen).length).toBe(CROWD);
}

describe.skipIf(need.skip)(`more pods than there are entries for${need.label}`, () => {
  it('the one that has none reaches nobody past the mesh, and nobody reaches it, until there is room for its entry', async () => {
    // So nobody expects it in the mesh when it starts.
    await using host = await smallNode({});
    const { kubernetes, remote } = host.node;
    const crowd = new Crowd(host, CROWD);
    try {
      await startWithCrowd(host);
      const plain = await host.node.pod({ name: 'plain', serve: [8080] });
      const cart = await host.node.pod({ namespace: 'shop', name: 'cart', serve: [8080] });
      const out = async (pod = cart): Promise<string> =>
        wayOf(await pod.dial(endpoint(remote.ip4, 80), { timeout: IMPATIENT }));
      const into = async (pod = cart): Promise<string> =>
        wayOf(await remote.dial(endpoint(pod.ip4, 8080), { timeout: IMPATIENT }));
      expect([await out(), await into()]).toEqual(['remote', 'shop/cart']);

      kubernetes.setNamespace('shop', ambient);
      const { reason, problems } = (await host.becomes('cart', 'pending')) ?? {};
      expect(reason).toMatch(/^pending: there is no room for it: /);
      expect(problems?.join('\n')).toMatch(/cgroup_info_map.*E2BIG[^]*netns_info_map.*E2BIG/);
      await expect.poll(() => out()).toBe('ECONNREFUSED');
      expect(wayOf(await cart.dial(endpoint(remote.ip6, 80)))).toBe('ECONNREFUSED');
      await expect.poll(() => into()).toBe('ETIMEDOUT');
      expect(wayOf(await cart.dial('127.0.0.1:8080'))).toBe('shop/cart');
      expect(wayOf(await cart.dial('127.0.0.1:8080', { device: 'eth0' }))).toBe('ECONNREFUSED');
      expect([await out(plain), await into(plain)]).toEqual(['remote', 'default/plain']);
      const explained = await host.explain('--pod', 'shop/cart', '--to', `${remote.ip4}:80`);
      expect(explained).toMatchObject({ verdict: 'refuse', note: expect.stringContaining('could not be written') });
      const itself = ['--pod', 'shop/cart', '--to', '127.0.0.1:8080'];
      expect(await host.explain(...itself)).toMatchObject({ verdict: 'pass' });
      expect(await host.explain(...itself, '--device', 'eth0')).toMatchObject({ verdict: 'refuse' });

      // The same without an agent, and with the next one. Nobody can be held while there is none.
      await host.agent.stop();
      expect([await out(), await into()]).toEqual(['ECONNREFUSED', 'ECONNREFUSED']);
      await host.agent.start();
      await host.becomes('cart', 'pending');
      expect([await out(), await into()]).toEqual(['ECONNREFUSED', 'ETIMEDOUT']);

      // It has an entry when others are gone: it waits like every pod without room, until it is not wanted any more.
      crowd[Symbol.dispose]();
      await expect.poll(() => Object.keys(host.status().state.programs ?? {})).not.toContain('sluice_refuse4');
      await expect.poll(() => host.workload('cart')?.problems).toEqual([]);
      expect([await out(), await into()]).toEqual(['ETIMEDOUT', 'ETIMEDOUT']);
      kubernetes.setNamespace('shop', {});
      await host.becomes('cart', 'out');
      expect([await out(), await into()]).toEqual(['remote', 'shop/cart']);
    } finally {
      crowd[Symbol.dispose]();
    }
  });

  it('one that is not wanted in the mesh needs none, also in a namespace whose pods the guard expects there', async () => {
    await using host = await smallNode(ambient);
    const { remote } = host.node;
    const crowd = new Crowd(host, CROWD);
    try {
      await startWithCrowd(host);
      const none = await host.node.pod({
        namespace: 'shop',
        name: 'none',
        labels: { 'istio.io/dataplane-mode': 'none' },
        serve: [8080],
      });
      const { problems } = (await host.becomes('none', 'out')) ?? {};
      expect(problems?.join('\n')).toMatch(/cgroup_info_map.*E2BIG/);
      const ways = async (): Promise<string[]> => [
        wayOf(await none.dial(endpoint(remote.ip4, 80), { timeout: IMPATIENT })),
        wayOf(await remote.dial(endpoint(none.ip4, 8080), { timeout: IMPATIENT })),
      ];
      await expect.poll(ways).toEqual(['remote', 'shop/none']);
      // Nobody puts it back among the expected, neither this agent nor the next one.
      await host.agent.stop();
      expect(await ways()).toEqual(['remote', 'shop/none']);
      await host.agent.start();
      await host.becomes('none', 'out');
      expect(await ways()).toEqual(['remote', 'shop/none']);
      await none.serve([8081]);
      expect(wayOf(await remote.dial(endpoint(none.ip4, 8081)))).toBe('shop/none');
    } finally {
      crowd[Symbol.dispose]();
    }
  });
});
