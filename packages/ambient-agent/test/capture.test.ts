// Which pods are captured by route, and the reason for each that is not; and that nothing unknown counts as harmless.
import { WorkloadFlag } from '@sluice/datapath';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  captureOf,
  isRoutable,
  type Capture,
  type CaptureFacts,
  type ListenerSight,
  type NetworkAdmin,
  type Pod,
} from '../src/index.js';
import { config, enrolWorld, pod, workload } from './world.js';

const COOKIE = 7n;
const ordinary: CaptureFacts = {
  obstacles: new Map(),
  prepared: new Set([COOKIE]),
  listeners: new Map([[COOKIE, 'transparent']]),
  expected: undefined,
  foreignConnect: undefined,
};
const FOREIGN = 'program cil_sock4_connect (id 9) at cgroup /sys/fs/cgroup is in the way; detach it';
const TOO_MANY = 'its network namespace has 80 addresses, and only 64 of them count as its own';
const OBSTACLE = 'a rule of the pod stands before the route; remove it';

interface Given {
  readonly mode?: 'node' | 'inPod';
  readonly capture?: 'route' | 'rewrite';
  readonly admins?: readonly NetworkAdmin[] | undefined;
  readonly cookie?: bigint | undefined;
  readonly obstacle?: string;
  readonly ipv6?: boolean;
  readonly addressProblem?: string;
  readonly isPrepared?: boolean;
  readonly listener?: ListenerSight | undefined;
  readonly foreign?: string;
}

function ask(given: Given = {}): Capture {
  const listener = 'listener' in given ? given.listener : 'transparent';
  return captureOf({
    config: {
      mode: given.mode ?? 'inPod',
      capture: given.capture ?? 'route',
      ambient: { ipv6: given.ipv6 ?? true },
    },
    pod: { networkAdmins: 'admins' in given ? given.admins : [], ips: ['10.0.0.5', 'fd00::5'] },
    addressProblem: given.addressProblem,
    cookie: 'cookie' in given ? given.cookie : COOKIE,
    facts: {
      obstacles: new Map(given.obstacle === undefined ? [] : [[COOKIE, given.obstacle]]),
      prepared: new Set(given.isPrepared === false ? [] : [COOKIE]),
      listeners: new Map(listener === undefined ? [] : [[COOKIE, listener]]),
      expected: undefined,
      foreignConnect: given.foreign,
    },
  });
}

const app = (by: NetworkAdmin['by'], kind: NetworkAdmin['kind'] = 'container'): NetworkAdmin => ({
  kind,
  container: 'app',
  by,
});

/** In the order in which they count. */
const reasons: readonly (readonly [Given, string])[] = [
  [{ mode: 'node' }, 'in `node` mode ztunnel listens in a pod of its own, to which no route of this pod leads'],
  [{ capture: 'rewrite' }, 'the configuration says `capture: rewrite`; set `capture: route`'],
  [
    { ipv6: false },
    'it has an IPv6 address, and the configuration says `ambient.ipv6: false`; set `ambient.ipv6: true`',
  ],
  [
    { admins: undefined },
    'its containers are not known, and may be privileged; list them in `spec.containers` of its manifest',
  ],
  [
    { admins: [app('privileged')] },
    'container app is privileged and could remove the route; take that from its securityContext if it does not need it',
  ],
  [{ cookie: undefined }, 'its network namespace is not known yet'],
  [{ obstacle: OBSTACLE }, OBSTACLE],
  [{ addressProblem: TOO_MANY }, TOO_MANY],
  [
    { listener: undefined },
    "whether ztunnel's listener at port 15001 is transparent is not known yet: no ztunnel that is connected has acknowledged the pod",
  ],
  [
    { listener: 'not-transparent' },
    "ztunnel's listener at port 15001 is not transparent, so its answers would not reach the application; give ztunnel NET_ADMIN, and do not set ENABLE_ORIG_SRC=false",
  ],
  [
    { listener: { unseen: 'pidfd_getfd: EPERM' } },
    "whether ztunnel's listener at port 15001 is transparent cannot be seen: pidfd_getfd: EPERM",
  ],
  [{ foreign: FOREIGN }, FOREIGN],
  [{ isPrepared: false }, 'its network namespace is not prepared yet'],
];

describe('a pod', () => {
  it('is captured by route if nothing is in the way', () => expect(ask()).toEqual({ by: 'route' }));

  it.each(reasons)('is captured by rewrite with %o', (given, because) =>
    expect(ask(given)).toEqual({ by: 'rewrite', because }),
  );

  it.each([
    [
      [app('NET_ADMIN', 'init container')],
      /^init container app adds the capability NET_ADMIN and could remove the route; /,
    ],
    [[app('ALL', 'ephemeral container')], /^ephemeral container app adds the capability ALL and could/],
    [[app('unknown')], /^the securityContext of container app cannot be understood, and may let it .*; correct it$/],
    [[{ ...app('unknown'), container: '' }], /^the securityContext of an unnamed container cannot/],
    [[app('privileged'), app('ALL'), app('unknown')], / \(2 more like it\)$/],
  ] as const)('is told by name of the container that may change its network: %o', (admins, because) =>
    expect(ask({ admins })).toEqual({ by: 'rewrite', because: expect.stringMatching(because) }),
  );

  it('with several reasons is told the first of them', () => {
    const several = fc
      .subarray([...reasons], { minLength: 1 })
      .chain((some) => fc.shuffledSubarray(some, { minLength: some.length }));
    fc.assert(
      fc.property(several, (some) => {
        const first = reasons.find((reason) => some.includes(reason));
        // Two reasons about one fact exclude each other; the one that is written last is the fact.
        const given = some.toSorted((a, b) => reasons.indexOf(b) - reasons.indexOf(a)).map(([fact]) => fact);
        expect(ask(Object.assign({}, ...given) as Given)).toEqual({ by: 'rewrite', because: first?.[1] });
      }),
    );
  });

  it('about which anything is unknown is never captured by route', () => {
    const admins = fc.option(fc.array(fc.constantFrom(app('privileged'), app('unknown'))), { nil: undefined });
    const listener = fc.constantFrom<ListenerSight | undefined>(
      'transparent',
      'not-transparent',
      { unseen: '' },
      undefined,
    );
    const given = fc.record({
      mode: fc.constantFrom('node', 'inPod'),
      capture: fc.constantFrom('route', 'rewrite'),
      admins,
      cookie: fc.constantFrom(COOKIE, 8n, undefined),
      listener,
      foreign: fc.option(fc.constantFrom(FOREIGN, ''), { nil: undefined }),
    });
    fc.assert(
      fc.property(given, ({ foreign, ...rest }) => {
        const { by } = ask({ ...rest, ...(foreign === undefined ? {} : { foreign }) });
        const isKnown =
          rest.mode === 'inPod' &&
          rest.capture === 'route' &&
          rest.admins?.length === 0 &&
          rest.cookie === COOKIE &&
          rest.listener === 'transparent' &&
          foreign === undefined;
        expect(by).toBe(isKnown ? 'route' : 'rewrite');
      }),
    );
  });

  it('is prepared for the route unless its configuration or its containers speak against it', () => {
    const routable = (
      mode: 'node' | 'inPod',
      capture: 'route' | 'rewrite',
      networkAdmins: Pod['networkAdmins'],
    ): boolean => isRoutable({ config: { mode, capture, ambient: { ipv6: true } }, pod: { networkAdmins, ips: [] } });
    expect(routable('inPod', 'route', [])).toBe(true);
    expect(routable('inPod', 'route', [app('NET_ADMIN')])).toBe(false);
    expect(routable('inPod', 'route', undefined)).toBe(false);
    expect(routable('inPod', 'rewrite', [])).toBe(false);
    expect(routable('node', 'route', [])).toBe(false);
  });
});

describe('the enrolment', () => {
  const { ROUTE } = WorkloadFlag;
  const enrolled = (over: Partial<Pod> = {}, facts?: CaptureFacts, mode = 'inPod', acknowledged = COOKIE) =>
    enrolWorld({
      pods: [pod('a', { ips: ['10.0.0.2'], ...over })],
      workloads: [workload('a', 100n, COOKIE)],
      config: config({ mode }),
      served: {
        acknowledged: new Map([['a', acknowledged]]),
      },
      ...(facts === undefined ? {} : { capture: facts }),
    });

  it('marks a pod that is captured by route in each of its entries, and says so', () => {
    const { desired, statuses, served } = enrolled({}, ordinary);
    const entries = [...desired.cgroups.values(), ...desired.netns.values()];
    expect(entries).toHaveLength(4);
    for (const { flags, detectedFlags } of entries)
      expect([flags & ROUTE, detectedFlags & ROUTE]).toEqual([ROUTE, ROUTE]);
    expect(statuses[0]).toMatchObject({ state: 'in', capture: { by: 'route' } });
    expect(served).toMatchObject([{ capture: { by: 'route' }, isRoutable: true }]);
  });

  it.each([
    ['a privileged container', { networkAdmins: [app('privileged')] }, ordinary, false],
    ['no fact', {}, undefined, true],
  ] as const)('leaves the others to the rewrite: %s', (_name, over, facts, isPrepared) => {
    const { desired, statuses, served } = enrolled(over, facts);
    for (const { flags, detectedFlags } of desired.cgroups.values())
      expect([flags & ROUTE, detectedFlags & ROUTE]).toEqual([0, ROUTE]);
    expect(statuses[0]?.capture?.by).toBe('rewrite');
    expect(served).toMatchObject([{ capture: { by: 'rewrite' }, isRoutable: isPrepared }]);
  });

  it('says nothing of the capture of a pending pod', () => {
    const { desired, statuses, served } = enrolled({}, ordinary, 'inPod', 6n);
    for (const { flags } of desired.cgroups.values()) expect(flags & ROUTE).toBe(0);
    expect(statuses[0]).not.toHaveProperty('capture');
    expect(served).toMatchObject([{ isAcknowledged: false, capture: { by: 'rewrite' }, isRoutable: true }]);
  });

  it('decides nothing of it in node mode', () => {
    const { desired, statuses } = enrolled({}, ordinary, 'node');
    for (const { flags, detectedFlags } of desired.cgroups.values())
      expect([flags & ROUTE, detectedFlags & ROUTE]).toEqual([0, 0]);
    expect(statuses[0]?.capture).toEqual({ by: 'rewrite', because: expect.stringContaining('`node` mode') });
  });
});
