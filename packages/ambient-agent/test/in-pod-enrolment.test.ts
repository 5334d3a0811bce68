// inPod mode's part of the enrolment: which pods are pending and why, what is written for them, and which pods ztunnel is to serve.
import { WorkloadFlag } from '@sluice/datapath';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Pod } from '../src/index.js';
import { nothingSeen } from '../src/enrolment/capture.js';
import { config, enrolWorld, facts, pod, workload, ztunnelPod, type World } from './world.js';

const inPod = (tree: Record<string, unknown> = {}): ReturnType<typeof config> => config({ mode: 'inPod', ...tree });
const acked = facts({ acknowledged: new Map([['a', 7n]]) });
const one = (over: Partial<Pod> = {}, more: Partial<World> = {}): ReturnType<typeof enrolWorld> =>
  enrolWorld({
    pods: [pod('a', { ips: ['10.0.0.2', 'fd00::2'], ...over })],
    workloads: [workload('a', 100n, 7n)],
    config: inPod(),
    served: acked,
    ...more,
  });
const { AMBIENT, IN_POD, PENDING, DNS_CAPTURE, BYPASS_INBOUND, ONLY_INCLUDED_INBOUND, ONLY_INCLUDED_OUTBOUND } =
  WorkloadFlag;

describe('a pod of inPod mode', () => {
  it('is in the mesh once ztunnel has acknowledged its namespace', () => {
    const { desired, statuses, served, isIncomplete } = one();
    const info = { id: 100n, inMesh: true, ip: '10.0.0.2', flags: AMBIENT | IN_POD | DNS_CAPTURE };
    expect(desired.netns.get(7n)).toMatchObject(info);
    expect([...desired.cgroups.keys()]).toEqual([100n, 101n, 102n]);
    for (const entry of desired.cgroups.values()) expect(entry).toMatchObject(info);
    for (const ip of ['10.0.0.2', 'fd00::2'])
      expect(desired.localPods.get(ip)).toEqual({ netnsCookie: 7n, flags: AMBIENT | IN_POD });
    expect(statuses[0]).toMatchObject({ state: 'in', inbound: 'yes', problems: [] });
    expect(served).toMatchObject([
      { uid: 'a', podUid: 'a', serviceAccount: 'default', cookie: 7n, isAcknowledged: true },
    ]);
    expect(isIncomplete).toBe(false);
  });

  const waits: [string, Partial<Pod>, Partial<World>, string][] = [
    ['nobody is connected', {}, { served: facts({ isConnected: false }) }, 'pending: no ztunnel is connected'],
    ['ztunnel has not answered', {}, { served: facts() }, 'pending: ztunnel has not acknowledged it yet'],
    [
      'another namespace was acknowledged',
      {},
      { served: facts({ acknowledged: new Map([['a', 6n]]) }) },
      'pending: ztunnel has not acknowledged it yet',
    ],
    [
      'ztunnel refused it',
      {},
      { served: facts({ refusals: new Map([['a', 'ztunnel refused it: address in use']]) }) },
      'pending: ztunnel refused it: address in use',
    ],
    [
      'its namespace is not known',
      {},
      { workloads: [workload('a', 100n)], served: facts() },
      'pending: its network namespace is not known yet',
    ],
    [
      'its namespace has no address',
      { ips: [] },
      { served: facts() },
      'pending: its network namespace has no usable address yet',
    ],
    [
      'the inbound program is not attached',
      {},
      { served: facts({ acknowledged: new Map([['a', 7n]]), attached: new Set([8n]) }) },
      'pending: the inbound program is not attached to its network namespace',
    ],
    [
      'something of it is not in force',
      {},
      { served: facts({ acknowledged: new Map([['a', 7n]]), notInForce: new Map([['a', 'no room']]) }) },
      'pending: no room',
    ],
  ];
  it.each(waits)('is pending while %s', (_name, over, more, reason) => {
    const { desired, statuses } = one(over, more);
    expect(statuses[0]).toMatchObject({ state: 'pending', reason });
    for (const entry of [...desired.cgroups.values(), ...desired.netns.values()]) {
      expect(entry).toMatchObject({ inMesh: true });
      expect(entry.flags & (IN_POD | PENDING)).toBe(IN_POD | PENDING);
    }
    expect(desired.cgroups.size).toBe(3);
  });

  it('is pending while another pod holds the only address that it has', () => {
    const { statuses } = enrolWorld({
      pods: [pod('first', { ips: ['10.0.0.2'] }), pod('second', { ips: ['10.0.0.2'] })],
      workloads: [workload('first', 100n, 7n), workload('second', 200n, 8n)],
      config: inPod(),
      served: facts({ acknowledged: new Map([['first', 7n]]) }),
    });
    expect(statuses).toMatchObject([
      { uid: 'first', state: 'in' },
      { uid: 'second', code: 'address-held', reason: 'pending: its address 10.0.0.2 is held by pod shop/first' },
    ]);
  });

  it('keeps its entries while no process shows its namespace', () => {
    const { desired, statuses, served } = one(
      {},
      { workloads: [workload('a', 100n)], served: { ...acked, remembered: new Map([['a', 7n]]) } },
    );
    expect(desired.netns.get(7n)?.flags).toBe(AMBIENT | IN_POD | DNS_CAPTURE);
    expect(desired.localPods.get('10.0.0.2')?.netnsCookie).toBe(7n);
    expect(statuses[0]?.state).toBe('in');
    expect(served).toMatchObject([{ cookie: 7n, netns: undefined, isAcknowledged: true }]);
  });

  it('that shows the namespace of another pod is pending, and does not get that namespace', () => {
    const { statuses, served, desired } = enrolWorld({
      pods: [pod('old', { ips: ['10.0.0.2'], bornMs: 1 }), pod('new', { ips: ['10.0.0.3'], bornMs: 2 })],
      workloads: [workload('old', 100n, 7n), workload('new', 200n, 7n)],
      config: inPod(),
      served: facts({ acknowledged: new Map([['old', 7n]]) }),
    });
    expect(statuses.map(({ uid, state }) => [uid, state])).toEqual([
      ['new', 'pending'],
      ['old', 'in'],
    ]);
    expect(statuses[0]?.reason).toBe('pending: its network namespace is that of pod shop/old');
    expect(served.map(({ uid }) => uid)).toEqual(['old']);
    expect(desired.netns.get(7n)?.id).toBe(100n);
  });

  it('waits by the way by which it will be captured, if a ztunnel has been seen', () => {
    const flagsWith = (capture: World['capture'], served = facts()): number =>
      one({}, { served, ...(capture === undefined ? {} : { capture }) }).desired.netns.get(7n)?.flags ?? 0;
    const { PENDING, ROUTE } = WorkloadFlag;
    const seen = { ...nothingSeen, expected: 'transparent' as const };
    expect(flagsWith(seen) & (PENDING | ROUTE)).toBe(PENDING | ROUTE);
    expect(flagsWith({ ...seen, expected: 'not-transparent' }) & (PENDING | ROUTE)).toBe(PENDING);
    expect(flagsWith({ ...seen, obstacles: new Map([[7n, 'a rule']]) }) & (PENDING | ROUTE)).toBe(PENDING);
    expect(flagsWith(nothingSeen) & (PENDING | ROUTE)).toBe(PENDING);
    // Once it is acknowledged, what is expected does not count any more.
    expect(flagsWith(seen, acked) & (PENDING | ROUTE)).toBe(0);
  });

  it('has the flags of its policy in every entry, and keeps them from other pods', () => {
    const { REFUSE_WAITING, OPEN_WAITING } = WorkloadFlag;
    const waitingOf = (annotations: Record<string, string>, more: Partial<World> = {}): number =>
      (one({ annotations }, more).desired.cgroups.get(101n)?.flags ?? 0) & (REFUSE_WAITING | OPEN_WAITING);
    expect(waitingOf({})).toBe(0);
    expect(waitingOf({ 'sluice/waiting': 'open' })).toBe(OPEN_WAITING);
    expect(waitingOf({ 'sluice/waiting': 'refuse' })).toBe(REFUSE_WAITING);
    expect(waitingOf({}, { config: inPod({ policy: { noZtunnel: 'closed' } }) })).toBe(REFUSE_WAITING);
    expect(waitingOf({}, { config: inPod({ policy: { pending: 'open' } }), served: facts() })).toBe(OPEN_WAITING);
    expect(waitingOf({ 'sluice/waiting': 'hold' }, { config: inPod({ policy: { noZtunnel: 'open' } }) })).toBe(0);
  });

  it('is not served if it is not wanted, and ztunnel has no address in the maps', () => {
    const { served, desired } = enrolWorld({
      pods: [pod('a', { namespace: 'plain', ips: ['10.0.0.2'] }), ztunnelPod({ isReady: false })],
      workloads: [workload('a', 100n, 7n), workload('zt', 200n, 8n)],
      config: inPod({ probes: { exempt: 'host' }, policy: { noZtunnel: 'open' } }),
      served: acked,
    });
    expect(served).toEqual([]);
    expect(desired.netns.size).toBe(0);
    expect(desired.cgroups.get(200n)?.flags).toBe(WorkloadFlag.ZTUNNEL);
    expect(desired.settings).toMatchObject({
      ztunnelIPv4: undefined,
      ztunnelIPv6: undefined,
      probesExempt: 'host',
      noZtunnel: 'open',
    });
  });
});

describe('annotations', () => {
  const flagsWith = (annotations: Record<string, string>, tree = {}): number =>
    (one({ annotations }, { config: inPod(tree) }).desired.netns.get(7n)?.flags ?? 0) & ~(AMBIENT | IN_POD);
  const problemsWith = (annotations: Record<string, string>): readonly string[] =>
    one({ annotations }).statuses[0]?.problems ?? [];
  const dns = 'ambient.istio.io/dns-capture';
  const traffic = (name: string): string => `traffic.sidecar.istio.io/${name}`;

  it('override the node’s setting for DNS', () => {
    expect(flagsWith({ [dns]: 'false' })).toBe(0);
    expect(flagsWith({ [dns]: 'true' }, { ambient: { dnsCapture: false } })).toBe(DNS_CAPTURE);
    expect(flagsWith({}, { ambient: { dnsCapture: false } })).toBe(0);
    expect(flagsWith({ [dns]: 'no' })).toBe(DNS_CAPTURE);
    expect(problemsWith({ [dns]: 'no' })).toEqual([
      'annotation ambient.istio.io/dns-capture: `no` is neither true nor false; it counts as true',
    ]);
  });

  it('bypass the inbound capture', () => {
    const { statuses, desired } = one({ annotations: { 'ambient.istio.io/bypass-inbound-capture': 'true' } });
    expect(statuses[0]).toMatchObject({ state: 'in', inbound: 'bypassed' });
    expect((desired.netns.get(7n)?.flags ?? 0) & BYPASS_INBOUND).toBe(BYPASS_INBOUND);
  });

  it('that are not supported are reported', () => {
    expect(problemsWith({ 'istio.io/reroute-virtual-interfaces': 'tap0' })).toEqual([
      expect.stringMatching(/^annotation istio.io\/reroute-virtual-interfaces is not supported: /),
    ]);
  });

  it('include and exclude traffic', () => {
    const { desired, statuses } = one({
      annotations: {
        [traffic('includeInboundPorts')]: '8080, 9090,',
        [traffic('excludeInboundPorts')]: '22',
        [traffic('includeOutboundPorts')]: '443',
        [traffic('excludeOutboundPorts')]: '3306',
        [traffic('includeOutboundIPRanges')]: '10.0.0.0/8,bad',
        [traffic('excludeOutboundIPRanges')]: '10.1.0.0/16',
      },
    });
    expect(
      desired.rules.map((rule) =>
        rule.kind === 'port'
          ? `port ${rule.direction} ${rule.action} ${rule.port}`
          : `cidr ${rule.action} ${rule.cidr}`,
      ),
    ).toEqual([
      'port outbound exclude 3306',
      'port outbound include 443',
      'cidr exclude 10.1.0.0/16',
      'cidr include 10.0.0.0/8',
      'port inbound exclude 22',
      'port inbound include 8080',
      'port inbound include 9090',
    ]);
    expect(statuses[0]?.problems).toEqual([
      'annotation traffic.sidecar.istio.io/includeOutboundIPRanges: `bad` is not a CIDR such as 10.0.0.0/8; it is left out',
    ]);
  });

  it('that include nothing exclude everything, and those that include `*` or typing errors exclude nothing', () => {
    const only = ONLY_INCLUDED_INBOUND | ONLY_INCLUDED_OUTBOUND;
    const including = (value: string): number =>
      flagsWith({ [traffic('includeInboundPorts')]: value, [traffic('includeOutboundIPRanges')]: value }) & only;
    expect(including('')).toBe(only);
    expect(including('*')).toBe(0);
    expect(including('wrong')).toBe(0);
  });
});

describe('whatever ztunnel has acknowledged', () => {
  it('a pod without an acknowledgement is held, and each namespace is served once', () => {
    const uids = ['a', 'b', 'c', 'd'] as const;
    const cookies = fc.option(fc.bigInt({ min: 5n, max: 9n }), { nil: undefined });
    const world = fc.record({
      seen: fc.array(cookies, { minLength: 4, maxLength: 4 }),
      acknowledged: fc.array(cookies, { minLength: 4, maxLength: 4 }),
    });
    const mapOf = (values: readonly (bigint | undefined)[]): Map<string, bigint> =>
      new Map(uids.flatMap((uid, index) => (values[index] === undefined ? [] : [[uid, values[index]]])));
    fc.assert(
      fc.property(world, ({ seen, acknowledged }) => {
        const known = mapOf(acknowledged);
        const { desired, served, statuses } = enrolWorld({
          pods: uids.map((uid, index) => pod(uid, { ips: [`10.0.0.${index + 2}`], bornMs: index })),
          workloads: uids.map((uid, index) => workload(uid, BigInt(index + 1) * 100n, seen[index])),
          config: inPod(),
          served: facts({ acknowledged: known, remembered: known }),
        });
        expect(new Set(served.map(({ cookie }) => cookie)).size).toBe(served.length);
        for (const { uid, state, cgroups } of statuses) {
          const flags = desired.cgroups.get(BigInt(cgroups[0]?.id ?? 0))?.flags ?? 0;
          expect((flags & PENDING) !== 0).toBe(state === 'pending');
          if (state === 'in') expect(served.find((one) => one.uid === uid)?.cookie).toBe(known.get(uid));
        }
      }),
    );
  });
});
