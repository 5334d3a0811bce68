// What `sluice explain --device` says of a socket that is bound to a device, and what the kernel does with such a socket.
import { explain, parseDestination } from '@sluice/ambient-agent';
import { endpoint, requires, type DialResult, type Pod } from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, NodeAgent } from './node-agent.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
/** Milliseconds: what leaves for nowhere would be waited for longer than the test. */
const IMPATIENT = 400;
const EXCLUDED_PORT = 443;

/** In the words of the table. What passes may still find nobody, because of where the device leads. */
function outcome({ error, hops: [first] }: DialResult): string {
  if (error === 'ECONNREFUSED') return 'refuse';
  return first?.by === 'ztunnel' ? 'route' : 'pass';
}

describe.skipIf(need.skip)(`a socket that is bound to a device${need.label}`, () => {
  let host: NodeAgent;
  let cart: Pod;
  let plain: Pod;
  beforeAll(async () => {
    host = await NodeAgent.createInPod();
    const { node } = host;
    node.kubernetes.setNamespace('shop', { 'istio.io/dataplane-mode': 'ambient' });
    node.kubernetes.setNamespace('plain', {});
    await node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket });
    const annotations = { 'traffic.sidecar.istio.io/excludeOutboundPorts': String(EXCLUDED_PORT) };
    cart = await node.pod({ namespace: 'shop', name: 'cart', serve: [8080], annotations });
    plain = await node.pod({ namespace: 'plain', name: 'plain', serve: [8080] });
    for (const pod of [cart, plain]) await pod.addDevice('net1');
    await host.agent.start();
    await host.becomes('cart', 'in');
    await host.becomes('plain', 'out');
    await eventually(
      () => wayOf(cart, remote()[0], 'net1'),
      (way) => way === 'route',
    );
  });
  afterAll(() => host?.node.close());

  const remote = (port = 80): string[] => [endpoint(host.node.remote.ip4, port), endpoint(host.node.remote.ip6, port)];
  const local = (pod: Pod): string[] => ['127.0.0.1:8080', '0.0.0.0:8080', '[::1]:8080', endpoint(pod.ip4, 8080)];
  const wayOf = async (pod: Pod, to: string | undefined, device?: string): Promise<string> =>
    outcome(await pod.dial(to ?? '', { timeout: IMPATIENT, ...(device === undefined ? {} : { device }) }));

  it.each([undefined, 'lo', 'eth0', 'net1'])('%s: is explained as the kernel decides', async (device) => {
    const { state } = host.status();
    const said: string[] = [];
    const done: string[] = [];
    for (const pod of [cart, plain])
      for (const to of [...local(pod), ...remote(), ...remote(EXCLUDED_PORT)]) {
        const { namespace, name } = pod;
        const destination = parseDestination(to) ?? { ip: '', port: 0 };
        const { verdict, decidedBy } = explain(state, { kind: 'pod', namespace, name }, { ...destination, device });
        said.push(`${verdict} ${pod.name} ${to}`);
        done.push(`${await wayOf(pod, to, device)} ${pod.name} ${to}`);
        if (to.startsWith('127.') && pod === cart) expect(decidedBy).toBe('loopback');
      }
    expect(said).toEqual(done);
    expect(new Set(said.map((line) => line.split(' ')[0])).size).toBeGreaterThan(1);
  });

  it('is told by the device’s name, which the table’s rows mention', async () => {
    const { stdout } = await host.sluice('explain', '--pod', 'shop/cart', '--to', '127.0.0.1:8080', '--device', 'eth0');
    expect(stdout).toMatch(/^device    eth0$/m);
    expect(stdout).toMatch(/^=> +loopback .*the socket is bound to another device$/m);
    expect(stdout).toMatch(/^refuse: decided by `loopback`/m);
    const { verdict, rows } = await host.explain('--pod', 'shop/cart', '--to', remote(53)[0] ?? '', '--device', 'eth0');
    expect(verdict).toBe('route');
    expect(rows.find(({ row }) => row === 'dns')?.finding).toMatch(/the socket is bound to a device/);
    expect(await host.explain('--pod', 'shop/cart', '--to', remote(53)[0] ?? '')).toMatchObject({ verdict: 'dns' });
  });

  it('of the host can be asked about, and a device that is not there is named with those that are', async () => {
    const to = remote()[0] ?? '';
    expect(await host.explain('--from-host', '--to', to, '--device', 'br0')).toMatchObject({ verdict: 'pass' });
    for (const [caller, there] of [
      [['--pod', 'shop/cart'], 'lo, eth0, net1'],
      [['--from-host'], 'lo, br0'],
    ] as const) {
      const { code, stderr } = await host.sluice('explain', ...caller, '--to', to, '--device', 'net9');
      expect([code, stderr]).toEqual([1, expect.stringMatching(new RegExp(`no device net9 .*${there}`))]);
    }
    const inbound = ['--from', host.node.remote.ip4, '--to-pod', 'shop/cart:8080', '--device', 'eth0'];
    const { code, stderr } = await host.sluice('explain', ...inbound);
    expect([code, stderr]).toEqual([2, expect.stringMatching(/can only be combined with each other/)]);
  });
});
