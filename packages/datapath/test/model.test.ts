import { describe, expect, it } from 'vitest';
import { WorkloadFlag, decide, type DesiredMaps, type Query, type TrafficRule } from '../src/index.js';

const POD = 100n;
const CONTAINER = 101n;
const ZTUNNEL = 200n;
const KUBELET = 300n;
const OUT = 400n;
const HOST_NETNS = 1n;
const POD_NETNS = 7n;

const maps: DesiredMaps = {
  cgroups: new Map([
    [POD, { id: POD, inMesh: true, ip: '10.0.0.5', flags: WorkloadFlag.AMBIENT, detectedFlags: 0 }],
    [ZTUNNEL, { id: ZTUNNEL, inMesh: false, ip: '10.0.0.9', flags: WorkloadFlag.ZTUNNEL, detectedFlags: 0 }],
    [KUBELET, { id: KUBELET, inMesh: false, ip: undefined, flags: WorkloadFlag.KUBELET, detectedFlags: 0 }],
  ]),
  netns: new Map([
    [POD_NETNS, { id: POD, inMesh: true, ip: '10.0.0.5', flags: WorkloadFlag.AMBIENT, detectedFlags: 0 }],
  ]),
  localPods: new Map([
    ['10.0.0.5', { netnsCookie: POD_NETNS, flags: 1 }],
    ['fd00::5', { netnsCookie: POD_NETNS, flags: 1 }],
    ['10.0.0.6', { netnsCookie: 8n, flags: 1 }],
  ]),
  ownAddresses: new Map([[POD_NETNS, ['10.0.0.5', 'fd00::5']]]),
  rules: [
    { kind: 'port', workload: POD, direction: 'outbound', action: 'exclude', port: 5432 },
    { kind: 'cidr', workload: POD, action: 'exclude', cidr: '192.0.2.0/24' },
    { kind: 'port', workload: 999n, direction: 'outbound', action: 'exclude', port: 80 },
  ],
  settings: {
    ztunnelIPv4: '10.0.0.9',
    ztunnelIPv6: undefined,
    noZtunnel: 'closed',
    unknown: 'hold',
    ztunnelByMark: false,
    probesExempt: 'kubelet',
    hostNetnsCookie: HOST_NETNS,
    cgroupLevels: [3],
    sampleEvery: 0,
  },
};
const inPod: Query = {
  cgroups: [
    { id: CONTAINER, level: 4 },
    { id: POD, level: 3 },
    { id: 2n, level: 2 },
  ],
  netnsCookie: POD_NETNS,
  mark: 0,
  ip: '10.9.9.9',
  port: 80,
};
const onHost: Query = { ...inPod, cgroups: [{ id: 55n, level: 1 }], netnsCookie: HOST_NETNS };
/** In a pod about which nobody has decided, and which the guard expects in the mesh. */
const expected: Query = { ...inPod, cgroups: [{ id: 77n, level: 4 }], netnsCookie: 70n, isExpected: true };
/** A process of a pod that is out, with a socket of the pod's namespace. */
const outsider: Query = { ...inPod, cgroups: [{ id: OUT, level: 3 }] };
const kubelet: Query = { ...onHost, cgroups: [{ id: KUBELET, level: 1 }] };
const withOut: DesiredMaps = {
  ...maps,
  cgroups: new Map([...maps.cgroups, [OUT, { id: OUT, inMesh: false, ip: undefined, flags: 0, detectedFlags: 0 }]]),
};
const settings = (change: Partial<DesiredMaps['settings']>): DesiredMaps => ({
  ...maps,
  settings: { ...maps.settings, ...change },
});

/** The same pod, with ztunnel in its own network namespace. */
const withFlags = (flags: number): DesiredMaps => ({
  ...maps,
  cgroups: new Map([...maps.cgroups].map(([id, info]) => [id, id === POD ? { ...info, flags } : info])),
  localPods: new Map(
    [...maps.localPods].map(([ip, pod]) => [ip, pod.netnsCookie === POD_NETNS ? { ...pod, flags } : pod]),
  ),
});
const own = withFlags(WorkloadFlag.AMBIENT | WorkloadFlag.IN_POD);
const routed: DesiredMaps = {
  ...withFlags(WorkloadFlag.AMBIENT | WorkloadFlag.IN_POD | WorkloadFlag.ROUTE),
  ownAddresses: new Map([[POD_NETNS, ['10.0.0.5', 'fd00::5', '10.7.7.7']]]),
};
const waitingFor = (policy = 0): DesiredMaps =>
  withFlags(WorkloadFlag.AMBIENT | WorkloadFlag.IN_POD | WorkloadFlag.PENDING | policy);
const waiting = waitingFor();
/** Captured by route, and what becomes of a connection while nobody listens. */
const routedWaiting = (policy: number): DesiredMaps =>
  withFlags(WorkloadFlag.AMBIENT | WorkloadFlag.IN_POD | WorkloadFlag.ROUTE | policy);
const ownWaiting = (policy: number): DesiredMaps => withFlags(WorkloadFlag.AMBIENT | WorkloadFlag.IN_POD | policy);
/** A caller in a namespace that is nested in the pod, as the agent has said. */
const nested = (flags = 0): DesiredMaps => ({
  ...own,
  netns: new Map([
    ...own.netns,
    [77n, { id: POD, inMesh: true, ip: '10.0.0.5', flags: WorkloadFlag.NESTED | flags, detectedFlags: 0 }],
  ]),
});
const { REFUSE_WAITING, OPEN_WAITING } = WorkloadFlag;
/** Everything that ztunnel's end of a connection needs. */
const listened: Query = { ...inPod, isListenedFor: true };
const oneFamily: DesiredMaps = { ...own, localPods: new Map([...own.localPods].filter(([ip]) => ip !== 'fd00::5')) };

/** The same before its namespace is known. */
const homeless: DesiredMaps = {
  ...own,
  netns: new Map(),
  ownAddresses: new Map(),
  localPods: new Map([...own.localPods].map(([ip, pod]) => [ip, { ...pod, netnsCookie: 0n }])),
};
const resolving = withFlags(WorkloadFlag.AMBIENT | WorkloadFlag.IN_POD | WorkloadFlag.DNS_CAPTURE);

type Unowned<T> = T extends TrafficRule ? Omit<T, 'workload'> : never;
const ruled = (...rules: Unowned<TrafficRule>[]): DesiredMaps => ({
  ...resolving,
  rules: rules.map((rule) => ({ ...rule, workload: POD })),
});
const included = { kind: 'cidr', action: 'include', cidr: '172.16.0.0/12' } as const;
const includedPort = { kind: 'port', direction: 'outbound', action: 'include', port: 80 } as const;
const excludedPort = { kind: 'port', direction: 'outbound', action: 'exclude', port: 80 } as const;
const inboundPort = { kind: 'port', direction: 'inbound', action: 'exclude', port: 80 } as const;

describe('the decision table', () => {
  it.each<[string, DesiredMaps, Query, string, string]>([
    ['a meshed pod, anywhere', maps, inPod, 'redirect', 'redirect'],
    ['a meshed pod, v4-mapped', maps, { ...inPod, ip: '::ffff:10.9.9.9' }, 'redirect', 'redirect'],
    ['a meshed pod, another meshed pod of the node', maps, { ...inPod, ip: '10.0.0.6' }, 'redirect', 'redirect'],
    ['a meshed pod, loopback', maps, { ...inPod, ip: '127.0.0.1' }, 'pass', 'loopback'],
    ['a meshed pod, loopback, bound to it', maps, { ...inPod, device: 1, ip: '127.0.0.1' }, 'pass', 'loopback'],
    ['a meshed pod, loopback, bound to another device', maps, { ...inPod, device: 2, ip: '::1' }, 'refuse', 'loopback'],
    ['a meshed pod, the unspecified address', maps, { ...inPod, ip: '::' }, 'pass', 'loopback'],
    ['a meshed pod, itself', maps, { ...inPod, ip: '10.0.0.5' }, 'pass', 'self'],
    ['a meshed pod, itself by its second address', maps, { ...inPod, ip: 'fd00::5' }, 'pass', 'self'],
    ['a meshed pod, an excluded port', maps, { ...inPod, port: 5432 }, 'pass', 'excluded'],
    ['a meshed pod, an excluded range', maps, { ...inPod, ip: '192.0.2.77' }, 'pass', 'excluded'],
    ['a meshed pod, no ztunnel for the family', maps, { ...inPod, ip: 'fd00::99' }, 'refuse', 'no-ztunnel'],
    ['the same, open', settings({ noZtunnel: 'open' }), { ...inPod, ip: 'fd00::99' }, 'pass', 'no-ztunnel'],
    ['a pod that is expected, anywhere', maps, expected, 'refuse', 'unknown'],
    ['the same, its loopback', maps, { ...expected, ip: '::1' }, 'pass', 'unknown'],
    ['the same, bound to another device', maps, { ...expected, device: 2, ip: '::1' }, 'refuse', 'unknown'],
    ['the same, open', settings({ unknown: 'open' }), expected, 'pass', 'unknown'],
    ['the same, another meshed pod of the node', maps, { ...expected, ip: '10.0.0.6' }, 'refuse', 'unknown'],
    ['a pod that is expected and decided about', maps, { ...inPod, isExpected: true }, 'redirect', 'redirect'],
    [
      'the same, from another network namespace',
      maps,
      { ...inPod, isExpected: true, netnsCookie: 77n },
      'pass',
      'not-in-mesh',
    ],
    [
      'the same with its own ztunnel, from the host network',
      own,
      { ...inPod, isExpected: true, netnsCookie: HOST_NETNS },
      'pass',
      'not-in-mesh',
    ],
    ['ztunnel itself', maps, { ...inPod, cgroups: [{ id: ZTUNNEL, level: 3 }], netnsCookie: 9n }, 'pass', 'ztunnel'],
    ['a marked socket, marks not believed', maps, { ...inPod, mark: 0x539 }, 'redirect', 'redirect'],
    [
      'a marked socket, marks believed',
      settings({ ztunnelByMark: true }),
      { ...inPod, mark: 0xf539 },
      'pass',
      'ztunnel',
    ],
    ['the kubelet to a meshed pod', maps, { ...kubelet, ip: '10.0.0.5' }, 'pass', 'probe'],
    ['the kubelet elsewhere', maps, kubelet, 'pass', 'not-in-mesh'],
    [
      "the kubelet's cgroup in another netns",
      maps,
      { ...kubelet, ip: '10.0.0.5', netnsCookie: 44n },
      'to-mesh',
      'to-mesh',
    ],
    ['a host process to a meshed pod', maps, { ...onHost, ip: '10.0.0.5' }, 'to-mesh', 'to-mesh'],
    ['a host process to a meshed pod, no ztunnel', maps, { ...onHost, ip: 'fd00::5' }, 'refuse', 'no-ztunnel'],
    ['a host process elsewhere', maps, onHost, 'pass', 'not-in-mesh'],
    ['a process that entered the pod', maps, { ...onHost, netnsCookie: POD_NETNS }, 'redirect', 'redirect'],
    ["a process of the pod's cgroup in a nested netns", maps, { ...inPod, netnsCookie: 77n }, 'pass', 'not-in-mesh'],
    [
      'an ancestor at a level that the agent did not name',
      settings({ cgroupLevels: [2] }),
      { ...inPod, netnsCookie: 77n },
      'pass',
      'not-in-mesh',
    ],
    ['a pod with its own ztunnel, IPv4', own, listened, 'redirect', 'redirect'],
    ['a pod with its own ztunnel, IPv6', own, { ...listened, ip: 'fd00::99' }, 'redirect', 'redirect'],
    ['a pod with its own ztunnel, nobody listens', own, { ...inPod, canHold: true }, 'hold', 'no-ztunnel'],
    ['the same without an agent', own, inPod, 'refuse', 'no-ztunnel'],
    ['the same, not to wait', ownWaiting(REFUSE_WAITING), { ...inPod, canHold: true }, 'refuse', 'no-ztunnel'],
    ['the same, open', ownWaiting(OPEN_WAITING), inPod, 'pass', 'no-ztunnel'],
    ['the same, both', ownWaiting(OPEN_WAITING | REFUSE_WAITING), { ...inPod, canHold: true }, 'refuse', 'no-ztunnel'],
    ['a pod with its own ztunnel, itself', own, { ...inPod, ip: 'fd00::5' }, 'pass', 'self'],
    [
      'the same without an IP of the family',
      oneFamily,
      { ...listened, canHold: true, ip: 'fd00::99' },
      'refuse',
      'no-ztunnel',
    ],
    ['a host process to a pod with its own ztunnel', own, { ...onHost, ip: '10.0.0.5' }, 'pass', 'not-in-mesh'],
    [
      "a process of that pod's cgroup, namespace unknown, in a netns that nobody has decided about",
      homeless,
      { ...listened, netnsCookie: 77n },
      'refuse',
      'unprepared',
    ],
    ['the same, namespace known', own, { ...listened, netnsCookie: 77n }, 'refuse', 'unprepared'],
    ['the same, whatever the policy', ownWaiting(OPEN_WAITING), { ...inPod, netnsCookie: 77n }, 'refuse', 'unprepared'],
    ['the same, excluded', own, { ...inPod, netnsCookie: 77n, port: 5432 }, 'pass', 'excluded'],
    ['the same in the host network', own, { ...inPod, netnsCookie: HOST_NETNS }, 'pass', 'not-in-mesh'],
    [
      'the same to a name server',
      withFlags(WorkloadFlag.AMBIENT | WorkloadFlag.IN_POD | WorkloadFlag.DNS_CAPTURE),
      { ...inPod, netnsCookie: 77n, port: 53 },
      'refuse',
      'unprepared',
    ],
    [
      'the same in a namespace that is nested in the pod',
      nested(),
      { ...inPod, netnsCookie: 77n },
      'pass',
      'other-netns',
    ],
    [
      'the same in a nested namespace, by its namespace alone',
      nested(),
      { ...onHost, netnsCookie: 77n },
      'pass',
      'other-netns',
    ],
    ['the same in the loopback', homeless, { ...inPod, netnsCookie: 77n, ip: '127.0.0.1' }, 'pass', 'loopback'],
    ['a pod that is out, in its own namespace', withOut, { ...outsider, netnsCookie: 77n }, 'pass', 'not-in-mesh'],
    ['a pod that is out, in the namespace of one in the mesh', withOut, outsider, 'redirect', 'redirect'],
    [
      'the kubelet in the namespace of a pod in the mesh',
      maps,
      { ...kubelet, netnsCookie: POD_NETNS },
      'pass',
      'not-in-mesh',
    ],
    ['a pod captured by route', routed, { ...inPod, isRouted: true, isListenedFor: true }, 'route', 'redirect'],
    [
      'a pod captured by route, nobody listens',
      routed,
      { ...inPod, isRouted: true, canHold: true },
      'hold',
      'no-ztunnel',
    ],
    ['the same without an agent', routed, { ...inPod, isRouted: true }, 'refuse', 'no-ztunnel'],
    [
      'the same, not to wait',
      routedWaiting(REFUSE_WAITING),
      { ...inPod, isRouted: true, canHold: true },
      'refuse',
      'no-ztunnel',
    ],
    ['the same, open', routedWaiting(OPEN_WAITING), { ...inPod, isRouted: true }, 'pass', 'no-ztunnel'],
    [
      'the same, the policy for other ztunnels open',
      { ...routed, settings: { ...routed.settings, noZtunnel: 'open' } },
      { ...inPod, isRouted: true },
      'refuse',
      'no-ztunnel',
    ],
    ['a pod captured by route, not prepared', routed, { ...inPod, isListenedFor: true }, 'refuse', 'unprepared'],
    [
      'the same where connections without ztunnel may pass',
      { ...routedWaiting(OPEN_WAITING), settings: { ...routed.settings, noZtunnel: 'open' } },
      inPod,
      'refuse',
      'unprepared',
    ],
    ['a pod captured by route, excluded', routed, { ...inPod, port: 5432 }, 'pass', 'excluded'],
    [
      'a pod captured by route, an address of its own that is no Pod IP',
      routed,
      { ...inPod, ip: '10.7.7.7' },
      'pass',
      'self',
    ],
    [
      "a pod captured by route, its neighbour's address",
      routed,
      { ...inPod, ip: '10.0.0.6', isRouted: true, isListenedFor: true },
      'route',
      'redirect',
    ],
    [
      'ROUTE without a ztunnel in the pod',
      withFlags(WorkloadFlag.AMBIENT | WorkloadFlag.ROUTE),
      { ...inPod, isRouted: true, isListenedFor: true },
      'redirect',
      'redirect',
    ],
    ['a name server', resolving, { ...inPod, port: 53 }, 'dns', 'dns'],
    ['a name server on the loopback', resolving, { ...inPod, ip: '127.0.0.53', port: 53 }, 'pass', 'loopback'],
    ["a name server in the pod's own IP", resolving, { ...inPod, ip: '10.0.0.5', port: 53 }, 'pass', 'self'],
    ['a name server in an excluded range', resolving, { ...inPod, ip: '192.0.2.77', port: 53 }, 'dns', 'dns'],
    [
      'a name server, port excluded',
      ruled({ kind: 'port', direction: 'outbound', action: 'exclude', port: 53 }),
      { ...inPod, port: 53 },
      'pass',
      'excluded',
    ],
    ['a name server, DNS not captured', own, { ...listened, port: 53 }, 'redirect', 'redirect'],
    [
      'a name server, ztunnel elsewhere',
      withFlags(WorkloadFlag.AMBIENT | WorkloadFlag.DNS_CAPTURE),
      { ...inPod, port: 53 },
      'redirect',
      'redirect',
    ],
    ['included ranges, in one', ruled(included), { ...listened, ip: '172.16.0.1' }, 'redirect', 'redirect'],
    ['included ranges, in none', ruled(included), inPod, 'pass', 'excluded'],
    ['included ranges, in none, a name server', ruled(included), { ...inPod, port: 53 }, 'dns', 'dns'],
    ['included ranges, in none, an included port', ruled(included, includedPort), listened, 'redirect', 'redirect'],
    ['an included port that is excluded too', ruled(includedPort, excludedPort), inPod, 'pass', 'excluded'],
    [
      'an included port in an excluded range',
      ruled(includedPort, { kind: 'cidr', action: 'exclude', cidr: '10.9.0.0/16' }),
      inPod,
      'pass',
      'excluded',
    ],
    ['an included port includes nothing else', ruled(includedPort), { ...listened, port: 81 }, 'redirect', 'redirect'],
    ['inbound rules are of no account', ruled(inboundPort), listened, 'redirect', 'redirect'],
    [
      'a host process to a pod with its own ztunnel, probes of all the host',
      { ...own, settings: { ...maps.settings, probesExempt: 'host' } },
      { ...onHost, ip: '10.0.0.5' },
      'pass',
      'probe',
    ],
    [
      'an unmeshed caller elsewhere, probes of all the host',
      settings({ probesExempt: 'host' }),
      { ...onHost, ip: '10.0.0.5', netnsCookie: 44n },
      'to-mesh',
      'to-mesh',
    ],
    ['a pod that waits reaches its loopback', waiting, { ...inPod, ip: '::1' }, 'pass', 'loopback'],
    ['a pod that waits reaches itself', waiting, { ...inPod, ip: '10.0.0.5' }, 'pass', 'self'],
    ['a pod that waits reaches what is excluded', waiting, { ...inPod, port: 5432 }, 'pass', 'excluded'],
    [
      'a pod that waits is held wherever it is',
      { ...waiting, localPods: homeless.localPods },
      { ...inPod, netnsCookie: 77n },
      'refuse',
      'pending',
    ],
    ['a pod that ztunnel has not acknowledged', waiting, { ...listened, canHold: true }, 'hold', 'pending'],
    ['the same without an agent', waiting, inPod, 'refuse', 'pending'],
    ['the same, open', waitingFor(OPEN_WAITING), inPod, 'pass', 'pending'],
    ['the same, not to wait', waitingFor(REFUSE_WAITING), { ...inPod, canHold: true }, 'refuse', 'pending'],
    [
      'the same, captured by route',
      waitingFor(WorkloadFlag.ROUTE),
      { ...inPod, canHold: true, isRouted: true },
      'hold',
      'pending',
    ],
    [
      'the same, captured by route, not prepared',
      waitingFor(WorkloadFlag.ROUTE),
      { ...inPod, canHold: true },
      'refuse',
      'pending',
    ],
    [
      'the same, ztunnel in another pod',
      withFlags(WorkloadFlag.AMBIENT | WorkloadFlag.PENDING),
      { ...inPod, canHold: true },
      'refuse',
      'pending',
    ],
    [
      'ztunnel, in a pod that it has not acknowledged',
      waiting,
      { ...inPod, cgroups: [{ id: ZTUNNEL, level: 3 }] },
      'pass',
      'ztunnel',
    ],
  ])('%s', (_name, world, query, verdict, reason) => {
    const decision = decide(world, query);
    expect([decision.verdict, decision.reason]).toEqual([verdict, reason]);
    expect(decision.rows.at(-1)).toMatchObject({ row: reason, matched: true });
    expect(decision.rows.slice(0, -1).every((row) => !row.matched)).toBe(true);
  });

  it('names the target of a redirection', () => {
    expect(decide(maps, inPod).target).toEqual({ ip: '10.0.0.9', port: 15001 });
    expect(decide(maps, { ...onHost, ip: '10.0.0.5' }).target).toEqual({ ip: '10.0.0.9', port: 15006 });
    expect(decide(own, listened).target).toEqual({ ip: '10.0.0.5', port: 15001 });
    expect(decide(own, { ...listened, ip: 'fd00::99' }).target).toEqual({ ip: 'fd00::5', port: 15001 });
    expect(decide(own, { ...inPod, canHold: true }).target).toEqual({ ip: '10.0.0.5', port: 15001 });
    expect(decide(routed, { ...inPod, canHold: true, isRouted: true })).toMatchObject({ verdict: 'hold' });
    expect(decide(routed, { ...inPod, canHold: true, isRouted: true }).target).toBeUndefined();
    expect(decide(maps, { ...inPod, ip: '127.0.0.1' }).target).toBeUndefined();
  });
});
