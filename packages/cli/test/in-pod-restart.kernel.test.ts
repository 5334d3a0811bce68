// inPod mode while its parts restart or fail: the agent, ztunnel, a ztunnel that refuses, another process at the socket.
import { readdirSync } from 'node:fs';
import { InstalledDatapath } from '@sluice/datapath';
import {
  endpoint,
  readDial,
  requires,
  type DialResult,
  type Load,
  type Pod,
  type StandInZtunnel,
} from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { netnsPins, plumbingOf } from './in-pod-traces.js';
import { NodeAgent } from './node-agent.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
const ambient = { 'istio.io/dataplane-mode': 'ambient' };
/** The rows of the inbound table that have held anything. */
function heldIn(host: NodeAgent): Set<string> {
  using installed = InstalledDatapath.open(`${host.bpffs}/sluice`);
  const { inbound } = installed.counters();
  return new Set(inbound.filter(({ verdict }) => verdict === 'hold').map(({ reason }) => reason));
}
const wayOf = (result: DialResult): string => (result.ok ? result.hops.map(({ by }) => by).join(' > ') : result.error);

describe.skipIf(need.skip)(`what inPod mode outlives${need.label}`, () => {
  let host: NodeAgent;
  let ztunnel: StandInZtunnel;
  let shop: Pod;
  let bare: string[];
  let client: Pod;
  beforeAll(async () => {
    host = await NodeAgent.createInPod();
    host.node.kubernetes.setNamespace('shop', ambient);
    host.node.kubernetes.setNamespace('plain', {});
    shop = await host.node.pod({ namespace: 'shop', name: 'cart', serve: [8080] });
    client = await host.node.pod({ namespace: 'plain', name: 'client' });
    bare = await plumbingOf(shop);
  });
  afterAll(() => host?.node.close());

  const outside = (): string => endpoint(host.node.remote.ip4, 80);
  const way = async (from: Pick<Pod, 'dial'>, to: string): Promise<string> => wayOf(await from.dial(to));
  /** How many ztunnels have every pod, according to the running agent. */
  const synced = (count = 1): Promise<void> => {
    const seen = (): unknown => {
      const { agent, zds } = host.status().state;
      return { pid: agent.pid, synced: (zds?.connections ?? []).filter(({ isSynced }) => isSynced).length };
    };
    return expect.poll(seen).toEqual({ pid: host.agent.process.pid, synced: count });
  };
  const loads = async (): Promise<Load[]> => [
    await shop.load([outside(), endpoint(host.node.remote.ip6, 80)]),
    await client.load([endpoint(shop.ip4, 8080), endpoint(shop.ip6, 8080)]),
  ];
  const nothingLost = async (under: Load[]): Promise<void> => {
    for (const load of under) {
      await load.progress(2);
      const summary = await load.stop();
      expect(summary).toMatchObject({ refused: 0, direct: 0, errors: 0, firstErrors: [] });
      expect(summary.redirected).toBe(summary.attempts);
    }
  };

  it('holds a pending pod in both directions, and releases it when ztunnel has it', async () => {
    await host.agent.start();
    await expect
      .poll(() => host.workload('cart'))
      .toMatchObject({ state: 'pending', reason: 'pending: no ztunnel is connected' });
    await expect
      .poll(() => host.status().warnings[0])
      .toMatch(/^no ztunnel is connected at .*: new connections of pods that it has not acknowledged are held/);
    const waiting = [shop.dial(outside()), client.dial(endpoint(shop.ip4, 8080))];
    await expect.poll(() => heldIn(host)).toEqual(new Set(['outbound-listener', 'pending']));
    // The pod still reaches what it always reaches directly.
    const other = await shop.app.exec(['dial', '--to', endpoint(shop.ip4, 8080)]);
    expect(wayOf(await readDial(other))).toBe('shop/cart');
    ztunnel = await host.node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket });
    expect((await Promise.all(waiting)).map(wayOf)).toEqual(['ztunnel > remote', 'ztunnel > shop/cart']);
    await expect.poll(() => host.workload('cart')?.state).toBe('in');
    expect(wayOf(await shop.dial(outside()))).toBe('ztunnel > remote');
    expect(wayOf(await client.dial(endpoint(shop.ip4, 8080)))).toBe('ztunnel > shop/cart');
  });

  it('goes on without the agent, however that ends, and refuses nothing when it restarts', async () => {
    await synced();
    const since = host.workload('cart')?.since;
    for (const end of ['SIGTERM', 'SIGKILL'] as const) {
      const under = await loads();
      if (end === 'SIGKILL') await host.agent.kill9();
      else expect(await host.agent.stop()).toEqual({ code: 0, signal: null });
      expect(wayOf(await shop.dial(outside()))).toBe('ztunnel > remote');
      await host.agent.start();
      // This holds at once, before ztunnel has connected again.
      expect(host.workload('cart')).toMatchObject({ state: 'in', since });
      await synced();
      await nothingLost(under);
      expect(ztunnel.protocolErrors).toEqual([]);
    }
    expect(ztunnel.events.filter(({ event }) => event === 'dropped' || event === 'removed')).toEqual([]);
  });

  it('holds what needs ztunnel after that was killed under load, and goes on when it is back', async () => {
    await synced();
    const under = await loads();
    for (const load of under) await load.progress(2);
    await ztunnel.kill9();
    const later = await loads();
    await expect.poll(() => host.status().state.zds?.connections).toEqual([]);
    expect(host.workload('cart')?.state).toBe('in');
    await expect
      .poll(() => host.workload('cart')?.problems[0])
      .toMatch(/^ztunnel does not listen for it at port 15001 and 15006/);
    // What makes the pod's SYNs come again soon is attached as soon as the agent has seen that.
    await expect.poll(() => Object.keys(host.status().state.programs ?? {})).toContain('sluice_hold');
    const waiting = [shop.dial(outside()), client.dial(endpoint(shop.ip4, 8080))];
    await expect.poll(() => heldIn(host)).toEqual(new Set([...heldIn(host), 'no-listener', 'outbound']));
    await ztunnel.start();
    expect((await Promise.all(waiting)).map(wayOf)).toEqual(['ztunnel > remote', 'ztunnel > shop/cart']);
    await expect.poll(() => host.workload('cart')?.problems).toEqual([]);
    await expect.poll(() => Object.keys(host.status().state.programs ?? {})).not.toContain('sluice_hold');
    for (const load of under) {
      await load.progress(2);
      const { refused, direct, errors, redirected, firstErrors } = await load.stop();
      expect([refused, direct]).toEqual([0, 0]);
      expect(redirected).toBeGreaterThan(0);
      // The kernel closes what ztunnel had accepted when it died, or was about to, and its listeners one after another: a client that was
      // reset may be connected once more before the last is closed. Whoever is lost was connected already.
      expect(errors).toBe(firstErrors.length);
      // A reset may come before anything has been read, or instead.
      for (const { error, hops } of firstErrors) expect([error === 'ECONNRESET' ? '' : error, hops]).toEqual(['', []]);
    }
    // Nothing is lost of what began when the process was gone.
    await nothingLost(later);
  });

  it('loses no connection when ztunnel is rolled out', async () => {
    await synced();
    const under = await loads();
    const next = await host.node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket, name: 'ztunnel-b' });
    await synced(2);
    await ztunnel.stop();
    await synced();
    expect((await shop.dial(outside())).hops[0]?.by).toBe('ztunnel-b');
    await nothingLost(under);
    expect(next.protocolErrors).toEqual([]);
    await ztunnel.pod.delete();
    ztunnel = next;
  });

  it('returns to the older ztunnel when a rollout is undone', async () => {
    const next = await host.node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket, name: 'ztunnel-c' });
    await synced(2);
    expect((await shop.dial(outside())).hops[0]?.by).toBe('ztunnel-c');
    await next.stop();
    await next.pod.delete();
    await expect.poll(() => way(shop, outside())).toBe('ztunnel-b > remote');
    await expect.poll(() => way(client, endpoint(shop.ip4, 8080))).toBe('ztunnel-b > shop/cart');
  });

  it('captures listeners that existed before it when its maps are gone', async () => {
    await synced();
    await host.agent.stop();
    expect((await host.sluice('cleanup')).code).toBe(0);
    await host.agent.start();
    await expect.poll(() => host.workload('cart')?.state).toBe('in');
    await expect.poll(() => way(shop, outside())).toBe('ztunnel-b > remote');
    await expect.poll(() => way(client, endpoint(shop.ip4, 8080))).toBe('ztunnel-b > shop/cart');
  });

  it('says why ztunnel refuses a pod, and releases the pod when ztunnel has accepted it', async () => {
    // A process in the pod already has ztunnel's port.
    const pod = await host.node.pod({ namespace: 'plain', name: 'taken', serve: [8080] });
    const thief = await pod.serve([15006]);
    pod.update({ labels: ambient });
    await expect
      .poll(() => host.workload('taken'))
      .toMatchObject({ state: 'pending', reason: expect.stringMatching(/^pending: ztunnel refused it: .*/) });
    const waiting = pod.dial(outside());
    expect(wayOf(await shop.dial(outside()))).toBe('ztunnel-b > remote');
    await thief.stop();
    expect(wayOf(await waiting)).toBe('ztunnel-b > remote');
    await expect.poll(() => host.workload('taken')?.state).toBe('in');
    await pod.delete();
  });

  it('tells nothing to a process that is not ztunnel', async () => {
    const stranger = await host.node.pod({ namespace: 'plain', name: 'stranger' });
    const before = host.status().state.zds?.connections ?? [];
    // The process is root, in a pod, and connects to the real socket.
    const process = await stranger.app.exec(['ztunnel', '--name', 'thief', '--zds', host.zdsSocket, '--drain-ms', '0']);
    expect(await host.said(/a connection to the ZDS socket was refused/)).toMatch(
      new RegExp(`in pod ${stranger.uid}, and in no ztunnel pod that is known`),
    );
    expect(host.status().state.zds?.connections).toEqual(before);
    expect(process.history.filter((text) => text.includes('"added"'))).toEqual([]);
    await process.stop();
    await stranger.delete();
  });

  it('leaves nothing after cleanup', async () => {
    await host.agent.stop();
    expect(await plumbingOf(shop)).not.toEqual(bare);
    const cleanup = await host.sluice('cleanup', '-o', 'json');
    expect(cleanup.code).toBe(0);
    expect(await plumbingOf(shop)).toEqual(bare);
    expect(netnsPins(host.bpffs)).toEqual([]);
    expect(readdirSync(host.bpffs)).not.toContain('sluice');
    expect(readdirSync(host.node.directory)).not.toContain('run');
    expect(wayOf(await shop.dial(outside()))).toBe('remote');
    expect(wayOf(await client.dial(endpoint(shop.ip4, 8080)))).toBe('shop/cart');
    const again = await host.sluice('cleanup');
    expect(again.stdout.trim()).toBe('nothing of Sluice is on this node');
  });
});

describe.skipIf(need.skip)(`inPod mode and its policy${need.label}`, () => {
  it('lets a pending pod connect directly if the policy says so', async () => {
    await using host = await NodeAgent.createInPod({ policy: { pending: 'open' } });
    host.node.kubernetes.setNamespace('shop', ambient);
    const shop = await host.node.pod({ namespace: 'shop', name: 'cart', serve: [8080] });
    await host.agent.start();
    await expect.poll(() => host.workload('cart')?.state).toBe('pending');
    expect(wayOf(await shop.dial(endpoint(host.node.remote.ip4, 80)))).toBe('remote');
    expect(wayOf(await host.node.remote.dial(endpoint(shop.ip4, 8080)))).toBe('shop/cart');
    await host.node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket });
    await expect.poll(() => host.workload('cart')?.state).toBe('in');
    expect(wayOf(await shop.dial(endpoint(host.node.remote.ip4, 80)))).toBe('ztunnel > remote');
    await host.agent.stop();
  });

  it.each([
    ['the configuration', { policy: { pending: 'refuse', noZtunnel: 'closed' } }, undefined],
    ['an annotation of the namespace', {}, 'refuse'],
    ['the limit', { policy: { holdLimit: '100ms' } }, undefined],
  ])('refuses instead, in both directions and in both states, by %s', async (why, settings, annotation) => {
    await using host = await NodeAgent.createInPod(settings);
    host.node.kubernetes.setNamespace('shop', ambient);
    const annotations = annotation === undefined ? {} : { 'sluice/waiting': annotation };
    host.node.kubernetes.write({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: 'shop', labels: ambient, annotations },
    });
    const shop = await host.node.pod({ namespace: 'shop', name: 'cart', serve: [8080] });
    await host.agent.start();
    await expect.poll(() => host.workload('cart')?.state).toBe('pending');
    const limit = /^it has been without ztunnel for longer than `policy.holdLimit`: its new connections are refused$/;
    const isOverdue = (): boolean | undefined => host.workload('cart')?.problems.some((text) => limit.test(text));
    const ends = async (): Promise<void> => {
      await expect.poll(isOverdue).toBe(why === 'the limit');
      for (const ip of host.node.remote.hosts) expect(wayOf(await shop.dial(endpoint(ip, 80)))).toBe('ECONNREFUSED');
      for (const ip of shop.ips) expect(wayOf(await host.node.remote.dial(endpoint(ip, 8080)))).toBe('ECONNREFUSED');
    };
    await ends();
    const ztunnel = await host.node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket });
    await expect.poll(() => host.workload('cart')?.state).toBe('in');
    await expect.poll(isOverdue).toBe(false);
    expect(wayOf(await shop.dial(endpoint(host.node.remote.ip4, 80)))).toBe('ztunnel > remote');
    await ztunnel.kill9();
    await expect.poll(() => host.workload('cart')?.problems[0]).toMatch(/does not listen for it|has been without/);
    await ends();
    await host.agent.stop();
  });

  it('says what an annotation that means nothing is', async () => {
    await using host = await NodeAgent.createInPod();
    host.node.kubernetes.setNamespace('shop', ambient);
    await host.node.pod({ namespace: 'shop', name: 'cart', annotations: { 'sluice/waiting': 'Hold' } });
    await host.agent.start();
    await expect
      .poll(() => host.workload('cart')?.problems)
      .toContain('annotation sluice/waiting: `Hold` is none of hold, refuse, open; it counts as absent');
    await host.agent.stop();
  });

  it('refuses to start if another process serves the socket', async () => {
    await using host = await NodeAgent.createInPod();
    await host.agent.start();
    const second = await NodeAgent.createInPod({ zds: { socket: host.zdsSocket } });
    try {
      const { code, stderr } = await second.sluice('run');
      expect([code, stderr]).toEqual([
        1,
        expect.stringMatching(/^sluice: another ZDS server listens at .* \(istio-cni\?\)/),
      ]);
    } finally {
      await second.node.close();
    }
    await host.agent.stop();
  });
});
