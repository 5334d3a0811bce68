// Pods that come while no agent runs: those of a namespace in the mesh are held until it is back, and others are left alone.
import { existsSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import {
  endpoint,
  enterCommand,
  KUBELET_ORDER,
  LineProcess,
  peerProgram,
  requires,
  without,
  type DialResult,
  type Pod,
} from '@sluice/testbed';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NodeAgent } from './node-agent.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
const ambient = { 'istio.io/dataplane-mode': 'ambient' };
const wayOf = (result: DialResult): string => (result.ok ? result.hops.map(({ by }) => by).join(' > ') : result.error);

describe.skipIf(need.skip)(`pods that come while no agent runs${need.label}`, () => {
  let host: NodeAgent;

  /** A node with a pod in the mesh, so that the agent has seen where pods are. */
  async function start(settings: Record<string, unknown> = {}): Promise<void> {
    host = await NodeAgent.createInPod({ metrics: { listen: '127.0.0.1:0' }, ...settings });
    host.node.kubernetes.setNamespace('shop', ambient);
    host.node.kubernetes.setNamespace('plain', {});
    await host.node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket });
    await host.node.pod({ namespace: 'shop', name: 'first', serve: [8080] });
    await host.agent.start();
    await host.becomes('first', 'in');
  }
  afterEach(() => host?.node.close());

  const out = async (pod: Pod): Promise<string> => wayOf(await pod.dial(endpoint(host.node.remote.ip4, 80)));
  const into = async (pod: Pod): Promise<string> => wayOf(await host.node.remote.dial(endpoint(pod.ip4, 8080)));

  describe('with the policy hold', () => {
    beforeEach(() => start());

    it('are held, out and in, and are in the mesh when it is back', async () => {
      await host.agent.kill9();
      const held = await host.node.pod({ namespace: 'shop', name: 'held', serve: [8080] });
      const free = await host.node.pod({ namespace: 'plain', name: 'free', serve: [8080] });
      expect([await out(held), await into(held)]).toEqual(['ECONNREFUSED', 'ECONNREFUSED']);
      expect(wayOf(await held.dial('127.0.0.1:8080'))).toBe('shop/held');
      expect([await out(free), await into(free)]).toEqual(['remote', 'plain/free']);
      await host.agent.start();
      await host.becomes('held', 'in');
      await expect.poll(() => into(held)).toBe('ztunnel > shop/held');
      expect(await out(held)).toBe('ztunnel > remote');
      expect(host.workload('held')?.problems).toEqual([]);
      // A listener that comes afterwards is an ordinary one.
      await held.serve([8081]);
      expect(wayOf(await host.node.remote.dial(endpoint(held.ip4, 8081)))).toBe('ztunnel > shop/held');
    });

    it('are let go when they turn out not to be wanted: by their own label, or by the host network', async () => {
      await host.agent.kill9();
      const none = await host.node.pod({
        namespace: 'shop',
        name: 'none',
        labels: { 'istio.io/dataplane-mode': 'none' },
        serve: [8080],
      });
      expect([await out(none), await into(none)]).toEqual(['ECONNREFUSED', 'ECONNREFUSED']);
      await host.agent.start();
      await host.becomes('none', 'out');
      await expect.poll(() => into(none)).toBe('shop/none');
      expect(await out(none)).toBe('remote');
    });

    it('are held when their directory of logs is older than the guard, as after a reboot, if the agent knew of them', async () => {
      const pod = host.node.plan({ namespace: 'shop', name: 'rebooted', serve: [8080] });
      // The kubelet makes no directory that is there (MkdirAll looks first), and this one is made where nothing sees it.
      symlinkSync(host.node.podLogs, join(host.node.directory, 'elsewhere'));
      mkdirSync(join(host.node.directory, 'elsewhere', basename(pod.logs)));
      await pod.start(['object']);
      await host.becomes('rebooted', 'pending');
      await host.agent.kill9();
      await pod.start(without(KUBELET_ORDER, 'object', 'logs'));
      expect([await out(pod), await into(pod)]).toEqual(['ECONNREFUSED', 'ECONNREFUSED']);
      await host.agent.start();
      await host.becomes('rebooted', 'in');
      await expect.poll(() => into(pod)).toBe('ztunnel > shop/rebooted');
    });

    it('are held while the agent runs, too, until it has decided', async () => {
      const ways = new Set<string>();
      for (let i = 0; i < 5; i++) {
        const pod = await host.node.pod({ namespace: 'shop', name: `new-${i}`, serve: [8080] });
        // A dial waits for ztunnel, or is refused; none goes directly.
        ways.add(await out(pod));
        ways.add(await into(pod));
        await host.becomes(`new-${i}`, 'in');
        await expect.poll(() => into(pod)).toBe(`ztunnel > shop/new-${i}`);
      }
      expect([...ways].filter((way) => way === 'remote' || way.startsWith('shop/'))).toEqual([]);
    });

    it('are not held any more in the host’s network when they have been decided about', async () => {
      const pod = await host.node.pod({ namespace: 'shop', name: 'debugger' });
      await host.becomes('debugger', 'in');
      const place = { cgroup: pod.app.place.cgroup, netns: host.node.netns.path };
      const dial = await LineProcess.start(
        enterCommand(place, [peerProgram(), 'dial', '--to', endpoint(host.node.remote.ip4, 80)]),
      );
      expect(wayOf(JSON.parse(await dial.nextLine()) as DialResult)).toBe('remote');
    });

    it('what guards them is in the metrics, and goes with the rest', async () => {
      const { body } = await host.get('/metrics');
      for (const part of ['mkdirat', 'cgroup_mkdir', 'cgroup_rmdir', 'let_go'])
        expect(body).toMatch(new RegExp(`^sluice_guard\\{part="${part}"\\} 1$`, 'm'));
      expect(host.status().state.problems).toEqual([]);
      await host.node.pod({ namespace: 'plain', name: 'another' });
      await expect
        .poll(async () => (await host.get('/metrics')).body)
        .toMatch(/^sluice_hints_total\{kind="pod-cgroup"\}/m);
      const pins = join(host.bpffs, 'sluice', 'guard');
      expect(await host.sluice('status', '--verify')).toMatchObject({ code: 0 });
      await host.agent.stop();
      rmSync(join(pins, 'mkdirat'));
      const { code: verified, stdout } = await host.sluice('status', '--verify');
      expect(verified).not.toBe(0);
      expect(stdout).toContain('the guard’s mkdirat');
      const { code } = await host.sluice('cleanup');
      expect(code).toBe(0);
      expect(existsSync(join(host.bpffs, 'sluice'))).toBe(false);
    });
  });

  it('connect directly with the policy open', async () => {
    await start({ policy: { unknown: 'open' } });
    await host.agent.kill9();
    const pod = await host.node.pod({ namespace: 'shop', name: 'late', serve: [8080] });
    expect([await out(pod), await into(pod)]).toEqual(['remote', 'shop/late']);
  });
});
