// Which pods the agent captures by route, and what a user sees of it: each reason, made on a real node.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Capture } from '@sluice/ambient-agent';
import { CaptureMark } from '@sluice/datapath';
import { openObject } from '@sluice/libbpf';
import { endpoint, requires, type Pod, type StandInZtunnel } from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NodeAgent } from './node-agent.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
const FOREIGN = fileURLToPath(new URL('../../datapath/build/test/foreign.bpf.o', import.meta.url));
const POWER =
  'container app is privileged and could remove the route; take that from its securityContext if it does not need it';

/** Whether ip(8) succeeds is of no account. */
const ipIn = ({ netns }: Pod, ...argv: readonly string[]): void =>
  void spawnSync('nsenter', [`--net=${netns}`, 'ip', ...argv], { stdio: 'ignore' });

describe.skipIf(need.skip)(`how pods are captured${need.label}`, () => {
  let host: NodeAgent;
  let ztunnel: StandInZtunnel;
  let vpn: Pod;
  const captureOf = (name: string): Capture | undefined => host.workload(name)?.capture;
  const becomes = (name: string, capture: object): Promise<void> => expect.poll(() => captureOf(name)).toEqual(capture);

  beforeAll(async () => {
    host = await NodeAgent.createInPod({ metrics: { listen: '127.0.0.1:0' }, resyncInterval: '1s' });
    host.node.kubernetes.setNamespace('shop', { 'istio.io/dataplane-mode': 'ambient' });
    ztunnel = await host.node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket });
    await host.node.pod({ namespace: 'shop', name: 'cart', serve: [8080] });
    vpn = await host.node.pod({ namespace: 'shop', name: 'vpn', securityContext: { privileged: true } });
    await host.agent.start();
    await host.becomes('cart', 'in');
    await host.becomes('vpn', 'in');
  });
  afterAll(() => host?.node.close());

  it('is by route, except for a pod that could remove the route', async () => {
    expect([captureOf('cart'), captureOf('vpn')]).toEqual([{ by: 'route' }, { by: 'rewrite', because: POWER }]);
    const { stdout } = await host.sluice('status');
    expect(stdout).toMatch(/^shop\/cart .* in +route +yes +in mesh/m);
    expect(stdout).toMatch(/^shop\/vpn .* in +rewrite +yes +in mesh/m);
    expect(stdout).toContain(`captured by rewrite, and not by route:\n  shop/vpn: ${POWER}\n`);
    const { body } = await host.get('/metrics');
    for (const by of ['route', 'rewrite'])
      expect(body).toMatch(new RegExp(`^sluice_captured_workloads\\{[^}]*by="${by}"[^}]*\\} 1$`, 'm'));
  });

  it('is explained by what the kernel enforces', async () => {
    const to = endpoint(host.node.remote.ip4, 80);
    expect((await host.explain('--pod', 'shop/cart', '--to', to)).caller.capture).toEqual({ by: 'route' });
    const { caller, verdict } = await host.explain('--pod', 'shop/vpn', '--to', to);
    expect([caller.capture, verdict]).toEqual([{ by: 'rewrite', because: POWER }, 'redirect']);
    const { stdout } = await host.sluice('explain', '--pod', 'shop/vpn', '--to', to);
    expect(stdout).toContain(`captured  by rewrite: connect() is given ztunnel's address, because ${POWER}\n`);
  });

  it('holds a pod that takes every rule away and marks its sockets', async () => {
    const { ip4, ip6 } = host.node.remote;
    for (const round of ['once', 'again']) {
      for (const family of ['-4', '-6']) {
        ipIn(vpn, family, 'rule', 'flush');
        ipIn(vpn, family, 'rule', 'add', 'priority', '32766', 'lookup', 'main');
        // Before the agent has put back what is missing, there may be no such table.
        ipIn(vpn, family, 'route', 'flush', 'table', '100');
      }
      for (const to of [endpoint(ip4, 80), endpoint(ip6, 80)])
        for (const mark of [0, CaptureMark.ROUTE_MARK, 0x539, 0x111]) {
          const { hops } = await vpn.dial(to, { mark });
          expect([round, hops[0]]).toMatchObject([round, { by: 'ztunnel', originalDst: to }]);
        }
    }
  });

  it('changes with a program of somebody else above the pods', async () => {
    using object = openObject(FOREIGN);
    object.load();
    const link = object.program('foreign_connect4').attachCgroup(host.node.cgroup.path);
    const because = expect.stringMatching(
      /^the program foreign_connect \(id \d+, connect4\) at cgroup .* may change destinations after Sluice; /,
    ) as string;
    await becomes('cart', { by: 'rewrite', because });
    // The pod's own reason comes first.
    expect(captureOf('vpn')).toEqual({ by: 'rewrite', because: POWER });
    link.close();
    await becomes('cart', { by: 'route' });
  });

  it('stays while the agent or ztunnel starts again, and changes with a ztunnel that listens in another way', async () => {
    await host.agent.stop();
    await ztunnel.stop();
    await host.agent.start();
    await host.becomes('cart', 'in');
    expect(captureOf('cart')).toEqual({ by: 'route' });
    const other = await host.node.ztunnel({
      mode: 'inPod',
      zdsSocket: host.zdsSocket,
      name: 'ztunnel-2',
      originalSource: false,
    });
    await becomes('cart', { by: 'rewrite', because: expect.stringContaining('is not transparent, so its answers') });
    await other.stop();
    await ztunnel.start();
    await becomes('cart', { by: 'route' });
  });

  it('is by rewrite for all if that is configured', async () => {
    await host.agent.stop();
    host.configure({ capture: 'rewrite' });
    await host.agent.start();
    const capture = { by: 'rewrite', because: 'the configuration says `capture: rewrite`; set `capture: route`' };
    await becomes('cart', capture);
    expect(captureOf('vpn')).toEqual(capture);
    const { stdout } = await host.sluice('status');
    expect(stdout).toContain(`  shop/cart, shop/vpn: ${capture.because}\n`);
  });
});

describe.skipIf(need.skip)(`the capture of pods, when an agent starts with another setting${need.label}`, () => {
  it('changes there and back without a failed call or a connection that breaks', async () => {
    await using host = await NodeAgent.createInPod({ resyncInterval: '1s' });
    host.node.kubernetes.setNamespace('shop', { 'istio.io/dataplane-mode': 'ambient' });
    await host.node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket });
    const cart = await host.node.pod({ namespace: 'shop', name: 'cart' });
    const by = (): Capture['by'] | undefined => host.workload('cart')?.capture?.by;
    await host.agent.start();
    await expect.poll(by).toBe('route');
    await host.node.remote.serve([9000], { echo: true });
    const open = await cart.crowd([endpoint(host.node.remote.ip4, 9000), endpoint(host.node.remote.ip6, 9000)], 100);
    const load = await cart.load([endpoint(host.node.remote.ip4, 80), endpoint(host.node.remote.ip6, 80)]);
    const restart = async (settings: Record<string, unknown>, capture: Capture['by']): Promise<void> => {
      await host.agent.stop();
      host.configure(settings);
      await host.agent.start();
      await expect.poll(by).toBe(capture);
      await load.progress(20);
      expect(await open.echo()).toEqual({ alive: 100, broken: {} });
    };
    await restart({ capture: 'rewrite' }, 'rewrite');
    await restart({ capture: 'route' }, 'route');
    // Where connections are routed is in a map of that size, and one of another size begins empty.
    await restart({ capacities: { ownAddresses: 8192 } }, 'route');
    await restart({ capacities: { ownAddresses: 8192 }, capture: 'rewrite' }, 'rewrite');
    await restart({ capture: 'rewrite' }, 'rewrite');
    expect(await load.stop()).toMatchObject({ refused: 0, direct: 0, errors: 0, firstErrors: [] });
    await host.agent.stop();
  });
});
