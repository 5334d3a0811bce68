// Which pods are in the mesh and why, row by row, and properties that must hold for any world.
import { WorkloadFlag } from '@sluice/datapath';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Pod } from '../src/index.js';
import { config, enrolWorld, namespaces, pod, workload, ztunnelPod, type World } from './world.js';

const mode = 'istio.io/dataplane-mode';

describe('membership', () => {
  const cases: [string, Partial<Pod>, 'in' | 'out', string][] = [
    ['namespace label', {}, 'in', 'in mesh: namespace label istio.io/dataplane-mode=ambient'],
    [
      'pod label',
      { namespace: 'plain', labels: { [mode]: 'ambient' } },
      'in',
      'in mesh: pod label istio.io/dataplane-mode=ambient',
    ],
    [
      'pod label without a namespace object',
      { namespace: 'nowhere', labels: { [mode]: 'ambient' } },
      'in',
      'in mesh: pod label istio.io/dataplane-mode=ambient',
    ],
    ['pod opts out', { labels: { [mode]: 'none' } }, 'out', 'out: pod label istio.io/dataplane-mode=none'],
    [
      'no label',
      { namespace: 'plain' },
      'out',
      'out: no label istio.io/dataplane-mode=ambient on the pod or its namespace',
    ],
    [
      'unknown namespace',
      { namespace: 'nowhere' },
      'out',
      'out: no label istio.io/dataplane-mode=ambient on the pod or its namespace (namespace nowhere is not in the inventory)',
    ],
    ['host network', { hostNetwork: true }, 'out', 'out: hostNetwork'],
    [
      'host network beats the pod label',
      { hostNetwork: true, labels: { [mode]: 'ambient' } },
      'out',
      'out: hostNetwork',
    ],
    ['sidecar', { annotations: { 'sidecar.istio.io/status': '{}' } }, 'out', 'out: has a sidecar'],
    ['excluded namespace', { namespace: 'kube-system' }, 'out', 'out: namespace kube-system is excluded'],
    [
      'excluded namespace beats the pod label',
      { namespace: 'kube-system', labels: { [mode]: 'ambient' } },
      'out',
      'out: namespace kube-system is excluded',
    ],
    [
      'ended, and something of it still runs',
      { phase: 'Succeeded' },
      'in',
      'in mesh: namespace label istio.io/dataplane-mode=ambient',
    ],
    [
      'being deleted, still running',
      { isDeleting: true },
      'in',
      'in mesh: namespace label istio.io/dataplane-mode=ambient',
    ],
  ];
  it.each(cases)('%s', (_name, over, state, reason) => {
    const { statuses, desired } = enrolWorld({ pods: [pod('a', over)], workloads: [workload('a', 100n, 7n)] });
    expect(statuses).toHaveLength(1);
    expect(statuses[0]).toMatchObject({ state, reason });
    expect([...desired.cgroups].map(([id, { inMesh }]) => [id, inMesh])).toEqual(
      state === 'in' ? [100n, 101n, 102n].map((id) => [id, true]) : [[100n, false]],
    );
  });

  it('leaves a pod that has no cgroup yet pending, and out of the maps', () => {
    const { statuses, desired, isIncomplete } = enrolWorld({ pods: [pod('a', { ips: ['10.0.0.2'] })] });
    expect(statuses[0]).toMatchObject({ state: 'pending', reason: 'pending: no cgroup on this node yet' });
    expect([desired.cgroups.size, desired.localPods.size, isIncomplete]).toEqual([0, 0, true]);
  });

  it.each(['Succeeded', 'Failed'] as const)(
    'leaves out a pod that has ended (%s) and has no cgroup any more',
    (phase) => {
      expect(enrolWorld({ pods: [pod('a', { phase })] }).statuses).toMatchObject([
        { state: 'out', code: 'ended', reason: `out: has ended (${phase})` },
      ]);
    },
  );

  it('holds a pod whose namespace the API has not shown yet', () => {
    const { statuses, desired, served } = enrolWorld({
      pods: [pod('a', { namespace: 'nowhere', ips: ['10.0.0.2'] })],
      workloads: [workload('a', 100n, 7n)],
      config: config({ mode: 'inPod', inventory: { source: 'kubernetes' } }),
      served: {},
    });
    expect(statuses).toMatchObject([
      { state: 'pending', code: 'undecided', reason: 'pending: namespace nowhere is not known yet' },
    ]);
    expect(desired.cgroups.get(100n)).toMatchObject({ inMesh: true });
    expect(served).toMatchObject([{ isOffered: false }]);
  });

  it('leaves pods of other nodes out of everything', () => {
    const { statuses } = enrolWorld({ pods: [pod('a', { nodeName: 'node-2' }), pod('b', { nodeName: undefined })] });
    expect(statuses).toEqual([]);
  });

  it('takes enablement selectors from the configuration', () => {
    const selectors = [
      {
        podSelector: { matchLabels: { mesh: 'yes' } },
        namespaceSelector: { matchExpressions: [{ key: 'team', operator: 'In', values: ['a'] }] },
      },
    ];
    const world: World = {
      pods: [pod('a', { labels: { mesh: 'yes' } }), pod('b')],
      workloads: [workload('a', 100n), workload('b', 200n)],
      namespaces: [{ name: 'shop', labels: { team: 'a' } }],
      config: config({ enablementSelectors: selectors }),
    };
    expect(enrolWorld(world).statuses.map(({ reason }) => reason)).toEqual([
      'in mesh: namespace label team=a and pod label mesh=yes',
      'out: no label mesh=yes on the pod or its namespace',
    ]);
  });
});

describe('entries', () => {
  it('enters the pod-level cgroup, its containers and nested cgroups, all with the pod-level id', () => {
    const world: World = { pods: [pod('a', { ips: ['10.0.0.2', 'fd00::2'] })], workloads: [workload('a', 100n, 7n)] };
    const { desired, isIncomplete } = enrolWorld(world);
    const detectedFlags = WorkloadFlag.AMBIENT | WorkloadFlag.ZTUNNEL | WorkloadFlag.KUBELET;
    const info = { id: 100n, inMesh: true, ip: '10.0.0.2', flags: WorkloadFlag.AMBIENT, detectedFlags };
    expect([...desired.cgroups]).toEqual([
      [100n, info],
      [101n, info],
      [102n, info],
    ]);
    expect([...desired.netns]).toEqual([[7n, info]]);
    const local = { netnsCookie: 7n, flags: WorkloadFlag.AMBIENT };
    expect([...desired.localPods]).toEqual([
      ['10.0.0.2', local],
      ['fd00::2', local],
    ]);
    expect(desired.settings).toMatchObject({ cgroupLevels: [3], noZtunnel: 'closed', hostNetnsCookie: 1n });
    expect(isIncomplete).toBe(false);
  });

  it('marks ztunnel and the kubelet by their cgroups, and captures neither', () => {
    const { desired, statuses } = enrolWorld({
      pods: [ztunnelPod()],
      workloads: [workload('zt', 200n, 8n)],
      kubelets: [{ cgroupPath: '/cg/kubelet', cgroupId: 50n, level: 2 }],
    });
    expect([...desired.cgroups].map(([id, { flags, inMesh }]) => [id, flags, inMesh])).toEqual([
      [50n, WorkloadFlag.KUBELET, false],
      [200n, WorkloadFlag.ZTUNNEL, false],
      [201n, WorkloadFlag.ZTUNNEL, false],
      [202n, WorkloadFlag.ZTUNNEL, false],
    ]);
    expect(desired.netns.size).toBe(0);
    expect(desired.settings).toMatchObject({ ztunnelIPv4: '10.0.0.9', ztunnelIPv6: 'fd00::9', cgroupLevels: [2, 3] });
    expect(statuses[0]).toMatchObject({ role: 'ztunnel', state: 'out', reason: 'out: is ztunnel' });
  });

  it('enrols a pod that has no IP and no namespace yet by its cgroup alone', () => {
    const { desired, statuses, isIncomplete } = enrolWorld({ pods: [pod('a')], workloads: [workload('a', 100n)] });
    expect([desired.cgroups.size, desired.netns.size, desired.localPods.size, isIncomplete]).toEqual([3, 0, 0, true]);
    expect(statuses[0]?.problems).toEqual(['it has no IP yet: connections to it go there directly']);
  });

  it('reports a pod whose cgroup is deeper than lookups reach', () => {
    const { pod: cgroup, netns } = workload('a', 100n, 7n);
    const { statuses } = enrolWorld({
      pods: [pod('a', { ips: ['10.0.0.1'] })],
      workloads: [{ pod: { ...cgroup, level: 16 }, netns }],
    });
    expect(statuses[0]).toMatchObject({ state: 'in', problems: [expect.stringMatching(/16 levels deep .* reach 15/)] });
  });

  it('gives an address to the pod that holds it, whatever a younger object claims', () => {
    const pods = [pod('old', { ips: ['10.0.0.2'], bornMs: 1 }), pod('new', { ips: ['10.0.0.2'], bornMs: 2 })];
    const workloads = [workload('old', 100n, 7n), workload('new', 200n, 8n)];
    const addresses = new Map([[8n, ['10.0.0.3']]]);
    const { desired, statuses } = enrolWorld({
      pods,
      workloads,
      addresses,
      config: config({ mode: 'inPod' }),
      served: { acknowledged: new Map([['new', 8n]]) },
    });
    expect([...desired.localPods].map(([ip, { netnsCookie }]) => [ip, netnsCookie])).toEqual([
      ['10.0.0.3', 8n],
      ['10.0.0.2', 7n],
    ]);
    expect(statuses.map(({ uid, ips, problems }) => ({ uid, ips, problems }))).toEqual([
      {
        uid: 'new',
        ips: ['10.0.0.3'],
        problems: ['the API reports its IP as 10.0.0.2, and the network namespace of pod shop/old holds that'],
      },
      { uid: 'old', ips: ['10.0.0.2'], problems: [] },
    ]);
  });

  it('gives an address of which nobody is known to hold it to the newer object, in node mode', () => {
    const old = pod('old', { ips: ['10.0.0.2'], bornMs: 1 });
    const workloads = [workload('old', 100n), workload('new', 200n)];
    const { desired } = enrolWorld({
      pods: [old, pod('new', { namespace: 'plain', ips: ['10.0.0.2'], bornMs: 2 })],
      workloads,
    });
    expect(desired.localPods.size).toBe(0);
    expect(desired.cgroups.get(100n)).toMatchObject({ inMesh: true, ip: undefined });
  });

  it('leaves static pods out, says so, and changes nothing because of an object that claims to be one', () => {
    const hash = '0123456789abcdef0123456789abcdef';
    const annotations = { 'kubernetes.io/config.hash': hash, 'kubernetes.io/config.mirror': hash };
    const mirror = enrolWorld({ pods: [pod('m', { annotations })], workloads: [workload(hash, 100n)] });
    expect(mirror.statuses).toMatchObject([
      { uid: 'm', state: 'out', code: 'static-pod', problems: [expect.stringMatching(/no certificate/)] },
    ]);
    expect(mirror.desired.cgroups.get(100n)).toMatchObject({ inMesh: false, flags: 0 });
    // A pod that runs under its own UID is none, and stays in the mesh.
    const thief = enrolWorld({
      pods: [pod('t', { annotations })],
      workloads: [workload(hash, 100n), workload('t', 200n)],
    });
    expect(thief.statuses.map(({ uid, state }) => [uid, state])).toEqual([
      [hash, 'unknown'],
      ['t', 'in'],
    ]);
    expect(thief.desired.cgroups.has(100n)).toBe(false);
    const claimed = { 'kubernetes.io/config.hash': 'victim', 'kubernetes.io/config.mirror': 'x' };
    const other = enrolWorld({ pods: [pod('t', { annotations: claimed })], workloads: [workload('victim', 100n)] });
    expect(other.statuses.map(({ uid, state }) => [uid, state])).toEqual([
      ['victim', 'unknown'],
      ['t', 'pending'],
    ]);
  });

  it('lists a pod’s cgroup that the inventory does not know, and enters nothing for it', () => {
    const { statuses, desired } = enrolWorld({ pods: [], workloads: [workload('ghost', 100n)] });
    expect(statuses).toMatchObject([{ uid: 'ghost', state: 'unknown' }]);
    expect(desired.cgroups.size).toBe(0);
  });

  it('takes exclusions from annotations and the configuration, and reports what it does not understand', () => {
    const annotations = {
      'traffic.sidecar.istio.io/excludeOutboundPorts': '3306, 70000,x,6379',
      'traffic.sidecar.istio.io/excludeOutboundIPRanges': '10.1.2.3/8,fd00::1/64, 192.0.2.1, nonsense',
    };
    const { desired, statuses } = enrolWorld({
      pods: [pod('a', { annotations, ips: ['10.0.0.2'] })],
      workloads: [workload('a', 100n, 7n)],
      config: config({ exclude: { outboundPorts: [9999], outboundCIDRs: ['172.16.0.0/12'] } }),
    });
    expect(desired.rules.map((one) => (one.kind === 'port' ? one.port : one.cidr))).toEqual([
      3306,
      6379,
      9999,
      '10.0.0.0/8',
      '172.16.0.0/12',
      '192.0.2.1/32',
      'fd00::/64',
    ]);
    expect(desired.rules.every(({ workload }) => workload === 100n)).toBe(true);
    expect(statuses[0]?.problems).toEqual([
      'annotation traffic.sidecar.istio.io/excludeOutboundPorts: `70000` is not a port (1 to 65535); it is left out',
      'annotation traffic.sidecar.istio.io/excludeOutboundPorts: `x` is not a port (1 to 65535); it is left out',
      'annotation traffic.sidecar.istio.io/excludeOutboundIPRanges: `nonsense` is not a CIDR such as 10.0.0.0/8; it is left out',
    ]);
  });
});

describe('ztunnel', () => {
  it('is looked for again soon, and reported, while its cgroup is not known', () => {
    const before = enrolWorld({ pods: [ztunnelPod()] });
    expect([before.isIncomplete, before.statuses[0]?.problems]).toEqual([
      true,
      [expect.stringMatching(/^it has no cgroup on this node yet/)],
    ]);
    const after = enrolWorld({ pods: [ztunnelPod()], workloads: [workload(ztunnelPod().uid, 900n)] });
    expect([after.isIncomplete, after.statuses[0]?.problems]).toEqual([false, []]);
  });

  const settingsOf = (pods: readonly Pod[]) => enrolWorld({ pods, workloads: [] }).desired.settings;
  it('is not a pod of another namespace, service account or node', () => {
    const impostors = [
      ztunnelPod({ namespace: 'shop' }),
      ztunnelPod({ serviceAccount: 'default' }),
      ztunnelPod({ nodeName: 'node-2' }),
      ztunnelPod({ labels: {} }),
    ];
    for (const impostor of impostors)
      expect(settingsOf([impostor])).toMatchObject({ ztunnelIPv4: undefined, ztunnelIPv6: undefined });
  });
  it('is the newest that is Ready', () => {
    const at = (uid: string, bornMs: number, ip: string, over: Partial<Pod> = {}) =>
      ztunnelPod({ uid, bornMs, ips: [ip], ...over });
    const pods = [
      at('a', 1, '10.0.0.1'),
      at('b', 3, '10.0.0.3', { isReady: false }),
      at('c', 2, '10.0.0.2'),
      at('d', 4, '10.0.0.4', { phase: 'Failed' }),
    ];
    expect(settingsOf(pods).ztunnelIPv4).toBe('10.0.0.2');
    expect(settingsOf([at('a', 1, '10.0.0.1'), at('c', 2, '10.0.0.2', { isDeleting: true })]).ztunnelIPv4).toBe(
      '10.0.0.1',
    );
    expect(settingsOf([at('c', 2, '10.0.0.2', { isDeleting: true })]).ztunnelIPv4).toBe('10.0.0.2');
  });
});

const arbitraryPod = fc
  .record({
    uid: fc.constantFrom('p0', 'p1', 'p2', 'p3', 'p4', 'p5'),
    namespace: fc.constantFrom('shop', 'plain', 'kube-system', 'istio-system', 'nowhere'),
    label: fc.constantFrom(undefined, 'ambient', 'none'),
    hostNetwork: fc.boolean(),
    isZtunnel: fc.boolean(),
    phase: fc.constantFrom('Running' as const, 'Pending' as const, 'Succeeded' as const),
    ips: fc.uniqueArray(fc.constantFrom('10.0.0.1', '10.0.0.2', 'fd00::1'), { maxLength: 2 }),
    bornMs: fc.nat({ max: 3 }),
  })
  .map(({ label, isZtunnel, ...over }) =>
    pod(over.uid, {
      ...over,
      serviceAccount: isZtunnel ? 'ztunnel' : 'default',
      labels: { ...(label === undefined ? {} : { [mode]: label }), ...(isZtunnel ? { app: 'ztunnel' } : {}) },
    }),
  );
const arbitraryPods = fc.uniqueArray(arbitraryPod, { selector: ({ uid }) => uid });
const arbitraryWorkloads = fc
  .subarray(['p0', 'p1', 'p2', 'p3', 'p4', 'p5', 'stranger'])
  .chain((uids) =>
    fc.tuple(
      ...uids.map((uid, index) =>
        fc
          .option(fc.bigInt(1n, 4n), { nil: undefined })
          .map((cookie) => workload(uid, BigInt(1000 + index * 10), cookie)),
      ),
    ),
  );

const sorted = <K, V>(map: ReadonlyMap<K, V>): [K, V][] => [...map].sort(([a], [b]) => (a < b ? -1 : 1));
const canonical = ({ desired, statuses }: ReturnType<typeof enrolWorld>): unknown => ({
  statuses,
  cgroups: sorted(desired.cgroups),
  netns: sorted(desired.netns),
  localPods: sorted(desired.localPods),
  rules: new Set(desired.rules.map((one) => `${one.workload} ${one.kind === 'port' ? one.port : one.cidr}`)),
  settings: desired.settings,
});

describe('in any world, the enrolment', () => {
  it('does not depend on any order', () => {
    fc.assert(
      fc.property(arbitraryPods, arbitraryWorkloads, (pods, workloads) => {
        const forth = enrolWorld({ pods, workloads });
        const back = enrolWorld({
          pods: pods.toReversed(),
          workloads: workloads.toReversed(),
          namespaces: namespaces.toReversed(),
        });
        expect(canonical(back)).toEqual(canonical(forth));
      }),
    );
  });

  it('has an entry for every pod that the inventory knows, and none for others', () => {
    fc.assert(
      fc.property(arbitraryPods, arbitraryWorkloads, (pods, workloads) => {
        const { desired, statuses } = enrolWorld({ pods, workloads });
        for (const { state, role, cgroups } of statuses) {
          const [podLevel] = cgroups;
          if (podLevel === undefined) continue;
          const info = desired.cgroups.get(BigInt(podLevel.id));
          if (state === 'unknown') expect(info).toBeUndefined();
          else expect(info).toMatchObject({ inMesh: state === 'in' });
          if (state === 'out') expect(info?.flags).toBe(role === 'ztunnel' ? WorkloadFlag.ZTUNNEL : 0);
        }
        const known = new Set(statuses.flatMap(({ cgroups }) => cgroups.map(({ id }) => BigInt(id))));
        for (const id of desired.cgroups.keys()) expect(known.has(id)).toBe(true);
        const inside = new Set(
          statuses.filter(({ state }) => state === 'in').flatMap(({ cgroups }) => cgroups.map(({ id }) => BigInt(id))),
        );
        for (const info of desired.netns.values()) expect(inside.has(info.id)).toBe(true);
        const addresses = new Set(statuses.filter(({ state }) => state === 'in').flatMap(({ ips }) => ips));
        for (const ip of desired.localPods.keys()) expect(addresses.has(ip)).toBe(true);
      }),
    );
  });

  it('captures nothing of pods once their labels are gone', () => {
    fc.assert(
      fc.property(arbitraryPods, arbitraryWorkloads, (pods, workloads) => {
        const bare = pods.map((one) => ({ ...one, labels: {}, namespace: 'plain' }));
        const { desired } = enrolWorld({ pods: bare, workloads });
        for (const { inMesh, flags } of desired.cgroups.values()) expect([inMesh, flags]).toEqual([false, 0]);
        expect([desired.netns.size, desired.localPods.size, desired.rules.length]).toEqual([0, 0, 0]);
      }),
    );
  });
});
