// inPod mode on a real kernel: the built command, a node made of namespaces, a ztunnel that is told of pods over ZDS. How pods
// join the mesh and leave it.
import { join } from 'node:path';
import { InstalledDatapath } from '@sluice/datapath';
import {
  endpoint,
  enterCommand,
  LineProcess,
  peerProgram,
  requires,
  type DialResult,
  type Pod,
  type StandInZtunnel,
} from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { netnsPins, plumbingOf } from './in-pod-traces.js';
import { eventually, NodeAgent } from './node-agent.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
const ambient = { 'istio.io/dataplane-mode': 'ambient' };
const wayOf = (result: DialResult): string => (result.ok ? result.hops.map(({ by }) => by).join(' > ') : result.error);

describe.skipIf(need.skip)(`the agent in inPod mode${need.label}`, () => {
  let host: NodeAgent;
  let ztunnel: StandInZtunnel;
  let shop: Pod;
  beforeAll(async () => {
    host = await NodeAgent.createInPod({ metrics: { listen: '127.0.0.1:0' } });
    host.node.kubernetes.setNamespace('shop', ambient);
    host.node.kubernetes.setNamespace('plain', {});
    ztunnel = await host.node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket });
    shop = await host.node.pod({ namespace: 'shop', name: 'cart', serve: [8080] });
    await host.agent.start();
    await host.becomes('cart', 'in');
  });
  afterAll(() => host?.node.close());

  const outside = (): string => endpoint(host.node.remote.ip4, 80);
  const inMaps = (): { netns: bigint[]; localPods: string[]; workloads: bigint[] } => {
    using installed = InstalledDatapath.open(join(host.bpffs, 'sluice'));
    const { netns, localPods, cgroups } = installed.read();
    return {
      netns: [...netns.keys()],
      localPods: [...localPods.keys()],
      workloads: [...cgroups.values()].map(({ id }) => id),
    };
  };

  it('redirects what the pod dials to ztunnel in its own namespace, IPv4 and IPv6', async () => {
    for (const to of [outside(), endpoint(host.node.remote.ip6, 80)]) {
      const result = await shop.dial(to);
      expect(wayOf(result)).toBe('ztunnel > remote');
      expect(result.hops[0]).toMatchObject({ port: 15001, originalDst: to, pod: shop.uid });
      expect(result.peername).toBe(to);
    }
  });

  it('redirects what a process of another pod dials in its namespace, such as by a socket that was passed to it', async () => {
    const other = await host.node.pod({ namespace: 'plain', name: 'accomplice' });
    await host.becomes('accomplice', 'out');
    const place = { cgroup: other.app.place.cgroup, netns: shop.netns };
    const dial = await LineProcess.start(enterCommand(place, [peerProgram(), 'dial', '--to', outside()]));
    expect(wayOf(JSON.parse(await dial.nextLine()) as DialResult)).toBe('ztunnel > remote');
    expect(wayOf(await other.dial(outside()))).toBe('remote');
    await other.delete();
  });

  it('steers what comes from another node to ztunnel, and the application sees the client', async () => {
    for (const ip of shop.ips) {
      const to = endpoint(ip, 8080);
      const result = await host.node.remote.dial(to);
      expect(wayOf(result)).toBe('ztunnel > shop/cart');
      // The connection keeps the address and the port that were dialled; only the process that accepted it shows that it went to 15006.
      expect(result.hops[0]).toMatchObject({ originalDst: to, pod: shop.uid, peer: result.sockname });
      expect(result.hops[1]?.peer?.replace(/:\d+$/, '')).toBe(result.sockname?.replace(/:\d+$/, ''));
    }
  });

  it('lets the kubelet reach the application, and HBONE reach ztunnel', async () => {
    const kubelet = await host.node.kubelet();
    const probe = await eventually(
      () => kubelet.dial(endpoint(shop.ip4, 8080)),
      (result) => wayOf(result) === 'shop/cart',
    );
    expect(probe.hops[0]?.peer).toBe(probe.sockname);
    const hbone = await host.node.remote.dial(endpoint(shop.ip4, 15008));
    expect(hbone.hops[0]).toMatchObject({ by: 'ztunnel', port: 15008 });
  });

  it('shows whether each pod is captured inbound, and the ztunnel that is connected', async () => {
    await expect
      .poll(() => host.status())
      .toMatchObject({
        warnings: [],
        state: {
          zds: {
            socket: host.zdsSocket,
            connections: [{ pid: ztunnel.process.pid, pod: 'istio-system/ztunnel', isSynced: true }],
          },
        },
      });
    await expect
      .poll(() => host.workload('cart'))
      .toMatchObject({
        state: 'in',
        inbound: 'yes',
        reason: 'in mesh: namespace label istio.io/dataplane-mode=ambient',
        problems: [],
      });
    const table = await host.sluice('status');
    expect(table.stdout).toMatch(/^ztunnel +istio-system\/ztunnel \(connected for .*has every pod\)$/m);
    const { body } = await host.get('/metrics');
    expect(body).toMatch(/^ztunnel_connected(\{[^}]*\})? 1$/m);
    expect(body).toMatch(/^sluice_zds_workloads\{[^}]*which="unacked"[^}]*\} 0$/m);
    expect(body).toMatch(/^sluice_inbound\{[^}]*reason="steered"[^}]*\} [1-9]/m);
  });

  it('explains both directions by what the kernel enforces', async () => {
    expect(await host.explain('--pod', 'shop/cart', '--to', outside())).toMatchObject({
      verdict: 'route',
      decidedBy: 'redirect',
    });
    const from = ['--from', host.node.remote.ip4, '--to-pod'];
    expect(await host.explain(...from, 'shop/cart:8080')).toMatchObject({ verdict: 'steer', decidedBy: 'steered' });
    expect(await host.explain(...from, 'shop/cart:15008')).toMatchObject({ verdict: 'pass', decidedBy: 'hbone' });
    const text = await host.sluice('explain', ...from, 'shop/cart:8080');
    expect(text.stdout).toMatch(/^steer: decided by `steered`; the connection goes to ztunnel/m);
  });

  it('enrols a pod that starts while the agent runs, and leaves nothing of one that is deleted', async () => {
    const late = await host.node.pod({ namespace: 'shop', name: 'late', serve: [8080] });
    const status = await host.becomes('late', 'in');
    expect(wayOf(await late.dial(outside()))).toBe('ztunnel > remote');
    expect(wayOf(await host.node.remote.dial(endpoint(late.ip4, 8080)))).toBe('ztunnel > shop/late');
    const cookie = BigInt(status?.netnsCookie ?? 0);
    expect(netnsPins(host.bpffs)).toContain(`netns-${cookie}`);
    await late.delete();
    await expect.poll(() => netnsPins(host.bpffs)).not.toContain(`netns-${cookie}`);
    await expect.poll(() => inMaps().netns).not.toContain(cookie);
    for (const ip of late.ips) await expect.poll(() => inMaps().localPods).not.toContain(ip);
    await expect.poll(() => ztunnel.workloads).toEqual(new Set([shop.uid]));
  });

  it('follows a label both ways while connections are made, and restores the namespace', async () => {
    const pod = await host.node.pod({ namespace: 'plain', name: 'switch', serve: [8080] });
    const bare = await plumbingOf(pod);
    const load = await pod.load([outside(), endpoint(host.node.remote.ip6, 80)]);
    for (let round = 0; round < 2; round++) {
      pod.update({ labels: ambient });
      await expect.poll(() => host.workload('switch')?.state).toBe('in');
      await load.progress(2);
      expect(wayOf(await pod.dial(outside()))).toBe('ztunnel > remote');
      expect(wayOf(await host.node.remote.dial(endpoint(pod.ip4, 8080)))).toBe('ztunnel > plain/switch');
      pod.update({ labels: {} });
      await expect.poll(() => host.workload('switch')?.state).toBe('out');
      await load.progress(2);
      expect(wayOf(await pod.dial(outside()))).toBe('remote');
      expect(wayOf(await host.node.remote.dial(endpoint(pod.ip4, 8080)))).toBe('plain/switch');
      expect(await plumbingOf(pod)).toEqual(bare);
    }
    // When the pod joins, it is held until ztunnel has it; nothing is refused at any other time.
    const summary = await load.stop();
    expect(summary.errors).toBe(0);
    expect([summary.redirected > 0, summary.direct > 0]).toEqual([true, true]);
    await pod.delete();
  });

  it('reads the annotations: inbound bypass, traffic rules, and those that are not supported', async () => {
    const pod = await host.node.pod({
      namespace: 'shop',
      name: 'special',
      serve: [8080, 9090],
      annotations: {
        'ambient.istio.io/bypass-inbound-capture': 'true',
        'traffic.sidecar.istio.io/excludeOutboundPorts': '443,x',
        'istio.io/reroute-virtual-interfaces': 'tap0',
      },
    });
    await expect
      .poll(() => host.workload('special'))
      .toMatchObject({
        state: 'in',
        inbound: 'bypassed',
        problems: [
          'annotation traffic.sidecar.istio.io/excludeOutboundPorts: `x` is not a port (1 to 65535); it is left out',
          expect.stringMatching(/^annotation istio.io\/reroute-virtual-interfaces is not supported/),
        ],
      });
    expect(wayOf(await pod.dial(outside()))).toBe('ztunnel > remote');
    expect(wayOf(await pod.dial(endpoint(host.node.remote.ip4, 443)))).toBe('remote');
    expect(wayOf(await host.node.remote.dial(endpoint(pod.ip4, 8080)))).toBe('shop/special');
    await pod.delete();
  });
});
