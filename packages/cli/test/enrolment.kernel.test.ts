// Istio's rules on real pods: connections show which pods are redirected.
import {
  endpoint,
  enterCommand,
  LineProcess,
  peerProgram,
  requires,
  type DialResult,
  type Pod,
  type PodSpec,
  type StandInZtunnel,
} from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NodeAgent } from './node-agent.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
const ambient = { 'istio.io/dataplane-mode': 'ambient' };
const wayOf = (result: DialResult): string => (result.ok ? result.hops.map(({ by }) => by).join(' > ') : result.error);

describe.skipIf(need.skip)(`enrolment on a node${need.label}`, () => {
  let host: NodeAgent;
  let ztunnel: StandInZtunnel;
  let shop: Pod;
  const to = (): string => endpoint(host.node.remote.ip4, 80);
  const way = async (from: Pick<Pod, 'dial'>, address: string): Promise<string> => wayOf(await from.dial(address));
  beforeAll(async () => {
    host = await NodeAgent.create();
    host.node.kubernetes.setNamespace('shop', ambient);
    host.node.kubernetes.setNamespace('kube-system', ambient);
    ztunnel = await host.node.ztunnel();
    shop = await host.node.pod({ namespace: 'shop', name: 'cart', serve: [8080] });
    await host.agent.start();
  });
  afterAll(() => host?.node.close());

  const cases: [string, Omit<PodSpec, 'name'>, string, string][] = [
    [
      'systemd',
      { namespace: 'shop', cgroupStyle: 'systemd' },
      'ztunnel > remote',
      'in mesh: namespace label istio.io/dataplane-mode=ambient',
    ],
    [
      'guaranteed',
      { namespace: 'shop', qosClass: 'guaranteed' },
      'ztunnel > remote',
      'in mesh: namespace label istio.io/dataplane-mode=ambient',
    ],
    [
      'by-pod-label',
      { namespace: 'plain', labels: ambient },
      'ztunnel > remote',
      'in mesh: pod label istio.io/dataplane-mode=ambient',
    ],
    [
      'opted-out',
      { namespace: 'shop', labels: { 'istio.io/dataplane-mode': 'none' } },
      'remote',
      'out: pod label istio.io/dataplane-mode=none',
    ],
    ['host-network', { namespace: 'shop', hostNetwork: true }, 'remote', 'out: hostNetwork'],
    [
      'sidecar',
      { namespace: 'shop', annotations: { 'sidecar.istio.io/status': '{}' } },
      'remote',
      'out: has a sidecar',
    ],
    ['of-the-system', { namespace: 'kube-system' }, 'remote', 'out: namespace kube-system is excluded'],
    [
      'port-excluded',
      { namespace: 'shop', annotations: { 'traffic.sidecar.istio.io/excludeOutboundPorts': '80' } },
      'remote',
      'in mesh: namespace label istio.io/dataplane-mode=ambient',
    ],
    [
      'range-excluded',
      { namespace: 'shop', annotations: { 'traffic.sidecar.istio.io/excludeOutboundIPRanges': '10.66.1.0/24' } },
      'remote',
      'in mesh: namespace label istio.io/dataplane-mode=ambient',
    ],
  ];
  it.each(cases)('%s', async (name, spec, wanted, reason) => {
    const pod = await host.node.pod({ ...spec, name });
    // The status is written after the maps, so a connection that is dialled now goes where all later ones go.
    await expect.poll(() => host.workload(name)?.reason).toBe(reason);
    expect(await way(pod, to())).toBe(wanted);
    await pod.delete();
  });

  it('redirects a process that entered the pod’s network namespace from outside its cgroup', async () => {
    const argv = enterCommand({ cgroup: host.node.cgroup.child('system').path, netns: shop.netns }, [
      peerProgram(),
      'dial',
      '--to',
      to(),
    ]);
    const dial = await LineProcess.start(argv);
    expect(wayOf(JSON.parse(await dial.nextLine()) as DialResult)).toBe('ztunnel > remote');
  });

  it('leaves alone what a pod does in another network namespace than its own, such as a nested container engine', async () => {
    const pod = await host.node.pod({ namespace: 'shop', name: 'engine' });
    await expect
      .poll(() => host.workload('engine'))
      .toMatchObject({ state: 'in', netnsCookie: expect.anything() as unknown });
    const nested = await pod.nestedNetns();
    expect(await way(nested, to())).toBe('remote');
    expect(await way(pod, to())).toBe('ztunnel > remote');
    await pod.delete();
  });

  it('does not take a tenant’s pod for ztunnel', async () => {
    const thief = await host.node.pod({
      namespace: 'shop',
      name: 'thief',
      labels: { app: 'ztunnel' },
      serviceAccountName: 'ztunnel',
      serve: [15001],
    });
    await expect
      .poll(() => host.status().warnings)
      .toContain("pod shop/thief has ztunnel's labels but is not taken for it: it is not in namespace istio-system");
    expect(host.status().state.ztunnels).toMatchObject({ ipv4: ztunnel.ip4, ipv6: ztunnel.ip6 });
    expect(await way(shop, to())).toBe('ztunnel > remote');
    await thief.delete();
  });

  it('refuses connections while no ztunnel is ready, and redirects them when one is', async () => {
    ztunnel.setReady(false);
    await expect.poll(() => way(shop, to())).toBe('ECONNREFUSED');
    await expect
      .poll(() => host.status().warnings)
      .toContain('no ztunnel is known on this node: connections of pods in the mesh are refused');
    ztunnel.setReady(true);
    await expect.poll(() => way(shop, to())).toBe('ztunnel > remote');
  });

  it('gives an IP that is used again to the new pod, in the mesh or not', async () => {
    const first = await host.node.pod({ namespace: 'shop', name: 'first', serve: [8080] });
    const process = await host.node.hostProcess('caller');
    const address = endpoint(first.ip4, 8080);
    await expect.poll(() => way(process, address)).toBe('ztunnel > shop/first');
    const { ip4, ip6 } = first;
    await first.delete();
    const second = await host.node.pod({ namespace: 'plain', name: 'second', ip4, ip6, serve: [8080] });
    await expect.poll(() => way(process, address)).toBe('plain/second');
    expect(await way(second, to())).toBe('remote');
  });
});
