// Capture by route in a real namespace: what is added, put back, changed into capture by rewrite and back, left alone, and
// removed, and where marked packets go.
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { CaptureMark, type RoutedDevices, type RoutedFamilies } from '@sluice/datapath';
import { Netns, readSysctl, writeSysctl } from '@sluice/linux';
import { Cgroup, cgroup2Root, Namespace, requires, uniqueName } from '@sluice/testbed';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  captureObstacle,
  checkState,
  ensureState,
  isChanged,
  removeState,
  wantedParts,
  type EnsuredState,
  type StateMemory,
  type WantedCapture,
} from '../src/pod-netns/netns-state.js';
import { FAMILIES, partsOf, type Family, type WantedParts } from '../src/pod-netns/parts.js';
import { seeRules } from '../src/pod-netns/seen-rules.js';

const need = requires('root', 'bpf', 'netns', 'cgroup2');
/** Attaches a filter as an older release did; packages/linux/native/test/tc_filter.cc. */
const TC_FILTER = fileURLToPath(new URL('../../linux/build/test/tc-filter', import.meta.url));

const POD = { 4: '10.66.50.2', 6: 'fd66:50::2' } as const;
/** In another prefix, so that the kernel does not take it away together with the first. */
const SECOND = { 4: '10.66.51.3', 6: 'fd66:51::3' } as const;
const PREFIX = { 4: 24, 6: 64 } as const;
const ELSEWHERE = { 4: '198.51.100.1', 6: '2001:db8::1' } as const;
const MARK = `0x${CaptureMark.ROUTE_MARK.toString(16)}`;

/** The device far has no address: only IPv4 needs a route by it. */
const ROUTES = (family: Family): string[] => [
  `IPv${family} capture route`,
  ...(family === 4 ? ['IPv4 capture route of far'] : []),
  `IPv${family} capture route of eth0`,
];
const CAPTURE = FAMILIES.flatMap((family) => [
  ...ROUTES(family),
  `IPv${family} capture backstop`,
  `IPv${family} capture rule`,
]);
/** A filter of another kind, which matches everything. */
const U32 = ['protocol', 'ip', 'u32', 'match', 'u32', '0', '0', 'classid', '1:1'];
const NOT_ROUTED: RoutedDevices = new Map();
const byRoute: WantedCapture = { by: 'route', podIps: Object.values(POD) };
const byRewrite: WantedCapture = { by: 'rewrite' };

describe.skipIf(need.skip)(`capture by route in a pod${need.label}`, () => {
  let cgroup: Cgroup;
  let pod: Namespace;
  let netns: Netns;
  let pristine: string[];
  let memory: StateMemory | undefined;
  /** Of sockets that are bound to no device or to eth0, in both families. */
  let ROUTED: RoutedDevices;
  /** By default in both families. */
  const routed = (unbound: RoutedFamilies, eth0 = unbound): RoutedDevices => {
    const ifindex = netns.addresses().find(({ name }) => name === 'eth0')?.ifindex ?? -1;
    return new Map([
      [0, unbound],
      [ifindex, eth0],
    ]);
  };

  beforeAll(() => {
    cgroup = new Cgroup(`${cgroup2Root()}/${uniqueName()}`);
  });
  afterAll(() => {
    cgroup?.remove();
  });
  beforeEach(async () => {
    pod = await Namespace.create(cgroup);
    netns = Netns.open(pod.path);
    memory = undefined;
    // No address of the kernel's own, which would come while a test compares.
    await pod.ip(
      'link add eth0 type veth peer name far',
      'link set eth0 addrgenmode none',
      'link set far addrgenmode none',
      'link set eth0 up',
      'link set far up',
    );
    // The kernel adds these routes by itself, some time after the devices are up.
    await expect
      .poll(async () => (await ip(6, 'route', 'show', 'table', 'local')).filter((line) => line.startsWith('multicast')))
      .toHaveLength(2);
    for (const family of FAMILIES) await address('add', POD[family]);
    for (const family of FAMILIES) await ip(family, 'route', 'add', 'default', 'dev', 'eth0');
    pristine = await state();
    ROUTED = routed({ ipv4: true, ipv6: true });
  });
  // Whatever a test did, everything that is ours is gone at its end.
  afterEach(async () => {
    removeState(netns, { memory });
    expect(await state()).toEqual(pristine);
    netns.close();
    await pod.close();
  });

  const ip = (family: Family, ...words: string[]): Promise<string[]> => pod.run(['ip', `-${family}`, ...words]);
  const address = async (change: 'add' | 'del', text: string, ...more: string[]): Promise<void> => {
    const family = text.includes(':') ? 6 : 4;
    const nodad = family === 6 && change === 'add' ? ['nodad'] : [];
    await ip(family, 'address', change, `${text}/${PREFIX[family]}`, 'dev', 'eth0', ...nodad, ...more);
    // The kernel adds the local route of an IPv6 address some time later (addrconf_dad_work of net/ipv6/addrconf.c).
    const local = `local ${text} `;
    if (change === 'add')
      await expect.poll(async () => (await ip(family, 'route', 'show', 'table', 'local')).join('\n')).toContain(local);
  };
  /** Rules, routes of all tables, filters and sysctls, as iproute2 and procfs show them. */
  async function state(): Promise<string[]> {
    const lines: string[] = [];
    for (const family of FAMILIES) {
      lines.push(...(await ip(family, 'rule')), ...(await ip(family, 'route', 'show', 'table', 'all')));
    }
    for (const words of ['qdisc show dev lo', 'filter show dev lo ingress'])
      lines.push(...(await pod.run(['tc', ...words.split(' ')])));
    const sysctls = ['ipv4.tcp_fwmark_accept', 'ipv4.fwmark_reflect', 'ipv6.fwmark_reflect'];
    return [...lines, ...sysctls.map((name) => `${name} = ${readSysctl(netns, `net.${name}`)}`)];
  }
  /** After a test that took addresses away and put them back, with which the kernel's own routes change their order. */
  async function expectPristine(): Promise<void> {
    removeState(netns, { memory });
    expect((await state()).toSorted()).toEqual(pristine.toSorted());
    pristine = await state();
  }
  /** Where a marked packet goes. */
  const way = async (family: Family): Promise<string> => {
    const words = ['ip', `-${family}`, 'route', 'get', ELSEWHERE[family], 'mark', MARK];
    return (await pod.run(['sh', '-c', `${words.join(' ')} 2>&1 || true`])).join(' ');
  };
  const wanted = (capture: WantedCapture, ipv6 = true): WantedParts =>
    wantedParts(netns, { ipv6, capture }, netns.addresses());
  function ensured(capture: WantedCapture = byRoute, ipv6 = true): EnsuredState {
    const result = ensureState(netns, wanted(capture, ipv6), { memory });
    ({ memory } = result);
    return result;
  }
  const missing = (capture: WantedCapture = byRoute): readonly string[] => checkState(netns, wanted(capture), {});

  it('delivers marked packets here, with their destination and the pod’s address, and no others', async () => {
    for (const family of FAMILIES) expect(await way(family)).toContain('dev eth0');
    expect(missing()).toEqual(expect.arrayContaining(CAPTURE));
    const first = ensured();
    expect(first).toMatchObject({ routed: ROUTED, inTheWay: undefined });
    expect(first.changed).toEqual(partsOf(wanted(byRoute)).map(({ name }) => name));
    expect(first.changed).toEqual(expect.arrayContaining(CAPTURE));
    for (const family of FAMILIES) {
      expect(await way(family)).toMatch(new RegExp(`^local ${ELSEWHERE[family]} .*dev lo .*src ${POD[family]}`));
      expect((await ip(family, 'route', 'get', ELSEWHERE[family])).join()).toContain('dev eth0');
    }
    expect(missing()).toEqual([]);
  });

  it('lets nothing out by a device without an address, and does not count it as prepared', async () => {
    const bound = async (family: Family): Promise<string> => {
      const words = ['ip', `-${family}`, 'route', 'get', ELSEWHERE[family], 'mark', MARK, 'oif', 'far'];
      return (await pod.run(['sh', '-c', `${words.join(' ')} 2>&1 || true`])).join(' ');
    };
    expect(await bound(4)).toMatch(/^198\.51\.100\.1 dev far/);
    expect(ensured().routed).toEqual(ROUTED);
    expect(await bound(4)).toMatch(/^local 198\.51\.100\.1 /);
    expect(await bound(6)).toMatch(/unreachable/);
  });

  it('is added once, and put back part by part', async () => {
    ensured();
    const full = await state();
    expect(ensured()).toMatchObject({ changed: [], routed: ROUTED });
    expect(await state()).toEqual(full);
    for (const family of FAMILIES)
      for (const [parts, ...words] of [
        [[`IPv${family} capture rule`], 'rule', 'delete', 'priority', '1'],
        [[`IPv${family} capture backstop`], 'rule', 'delete', 'priority', '2'],
        [ROUTES(family), 'route', 'flush', 'table', '101'],
        [ROUTES(family).slice(-1), 'route', 'delete', 'local', 'default', 'dev', 'eth0', 'table', '101'],
        [[`IPv${family} rule`], 'rule', 'delete', 'priority', '32764'],
        [[`IPv${family} route`], 'route', 'flush', 'table', '100'],
      ] as const) {
        await ip(family, ...words);
        expect(missing()).toEqual(parts);
        // Whichever it was, nothing that is marked gets past ztunnel meanwhile.
        expect(await way(family)).not.toContain('dev eth0');
        expect(ensured()).toMatchObject({ changed: parts, routed: ROUTED });
        expect(missing()).toEqual([]);
      }
    expect((await state()).toSorted()).toEqual(full.toSorted());
  });

  it('turns into capture by rewrite and back, while the way of answers stays', async () => {
    ensured(byRewrite);
    const rewritten = await state();
    expect(ensured()).toMatchObject({ changed: CAPTURE.toSorted(byKind), routed: ROUTED });
    const uncaptured: string[] = [];
    const back = ensureState(netns, wanted(byRewrite), {
      memory,
      // A marked connection would go past ztunnel from here on.
      beforeUncapture: () => uncaptured.push(...missing()),
    });
    expect(back).toMatchObject({ routed: NOT_ROUTED, memory });
    expect(back.changed.toSorted()).toEqual(CAPTURE.toSorted());
    expect(uncaptured).toEqual([]);
    expect(await state()).toEqual(rewritten);
    expect(ensured()).toMatchObject({ changed: CAPTURE.toSorted(byKind), routed: ROUTED });
  });
  /** Routes are added before rules, and IPv4 before IPv6. */
  const byKind = (one: string, other: string): number => rank(one) - rank(other);
  const rank = (part: string): number => ORDER.indexOf(part);
  const ORDER = [
    ...ROUTES(4),
    ...ROUTES(6),
    'IPv4 capture backstop',
    'IPv4 capture rule',
    'IPv6 capture backstop',
    'IPv6 capture rule',
  ];

  describe('gives way, with the reason,', () => {
    const sixTooFar = ['from', 'all', 'lookup', '77'];
    it.each<[string, Family, string[], string[], string]>([
      [
        'to a rule that comes before its own',
        4,
        ['rule', 'add', 'priority', '0', 'fwmark', '0x1/0x1', 'lookup', '77'],
        ['rule', 'delete', 'priority', '0', 'lookup', '77'],
        'the IPv4 rule "priority 0 fwmark 0x1/0x1 lookup 77" comes before those of Sluice',
      ],
      [
        'to one with the priority of its lookup',
        6,
        ['rule', 'add', 'priority', '1', ...sixTooFar],
        ['rule', 'delete', 'priority', '1', 'lookup', '77'],
        'the IPv6 rule "priority 1 lookup 77" has a priority that Sluice uses',
      ],
      [
        'to one with the priority of its backstop',
        4,
        ['rule', 'add', 'priority', '2', 'iif', 'lo', 'lookup', '77'],
        ['rule', 'delete', 'priority', '2', 'lookup', '77'],
        'the IPv4 rule "priority 2 (iif) lookup 77" has a priority that Sluice uses',
      ],
      [
        'to a route in its table',
        6,
        ['route', 'add', 'fd66:99::/64', 'dev', 'eth0', 'table', '101'],
        ['route', 'delete', 'fd66:99::/64', 'dev', 'eth0', 'table', '101'],
        'the IPv6 route "unicast fd66:99::/64 dev eth0 table 101" is in a table that Sluice uses',
      ],
      [
        'to a route of the same form that somebody else added',
        4,
        ['route', 'append', 'local', 'default', 'dev', 'lo', 'table', '101'],
        ['route', 'delete', 'local', 'default', 'dev', 'lo', 'table', '101'],
        'the IPv4 route "local default dev lo table 101" is in a table that Sluice uses',
      ],
    ])('%s', async (_, family, add, remove, what) => {
      await ip(family, ...add);
      const withIt = await state();
      const words = `in its network namespace, ${what}; remove it if the pod does not need it`;
      expect(captureObstacle(seeRules(netns), FAMILIES)).toBe(words);
      expect(ensured()).toMatchObject({ inTheWay: words, routed: NOT_ROUTED });
      expect(missing(byRewrite)).toEqual([]);
      removeState(netns, { memory });
      expect(await state()).toEqual(withIt);
      // It comes later, and then goes again. What it is in the way of is removed for as long.
      await ip(family, ...remove);
      ensured();
      const full = await state();
      await ip(family, ...add);
      expect(ensured()).toMatchObject({ inTheWay: words, routed: NOT_ROUTED });
      await ip(family, ...remove);
      expect(ensured()).toMatchObject({ inTheWay: undefined, routed: ROUTED });
      expect((await state()).toSorted()).toEqual(full.toSorted());
    });

    it('only if it concerns a family that is captured', async () => {
      await ip(6, 'rule', 'add', 'priority', '1', ...sixTooFar);
      const { inTheWay, routed: now } = ensured(byRoute, false);
      expect([inTheWay, now]).toEqual([undefined, routed({ ipv4: true, ipv6: false })]);
      await ip(6, 'rule', 'delete', 'priority', '1', ...sixTooFar);
    });
  });

  it('comes before the policy routing of a VPN, and leaves it alone', async () => {
    for (const family of FAMILIES) {
      await ip(family, 'rule', 'add', 'priority', '100', 'not', 'fwmark', '0xca6c', 'lookup', '51820');
      await ip(family, 'rule', 'add', 'priority', '99', 'lookup', 'main', 'suppress_prefixlength', '0');
      await ip(family, 'route', 'add', 'default', 'dev', 'far', 'table', '51820');
    }
    const vpn = await state();
    expect(ensured()).toMatchObject({ inTheWay: undefined, routed: ROUTED });
    for (const family of FAMILIES) {
      expect(await way(family)).toContain('dev lo');
      expect((await ip(family, 'route', 'get', ELSEWHERE[family])).join()).toContain('dev far');
    }
    removeState(netns, { memory });
    expect(await state()).toEqual(vpn);
    for (const family of FAMILIES) {
      for (const priority of ['99', '100']) await ip(family, 'rule', 'delete', 'priority', priority);
      await ip(family, 'route', 'flush', 'table', '51820');
    }
  });

  /** A family without an address is prepared, because it is unreachable; no socket can be bound to a device for it. */
  const routedWithout = (family: Family): RoutedDevices =>
    routed({ ipv4: true, ipv6: true }, { ipv4: family !== 4, ipv6: family !== 6 });

  it.each(FAMILIES)('follows the IPv%d addresses of the pod', async (family) => {
    await address('add', SECOND[family]);
    ensured();
    expect(await way(family)).toContain(`src ${POD[family]}`);
    // The kernel leaves the IPv4 route as it is, and takes the source from the IPv6 route.
    await address('del', POD[family]);
    await ip(family, 'route', 'replace', 'default', 'dev', 'eth0');
    expect(await way(family)).not.toContain('dev eth0');
    expect(missing()).toEqual(ROUTES(family));
    const moved = ensured();
    expect([moved.changed.toSorted(), moved.routed]).toEqual([ROUTES(family).toSorted(), ROUTED]);
    expect(await way(family)).toContain(`src ${SECOND[family]}`);
    await address('add', POD[family]);
    expect(ensured().changed.toSorted()).toEqual(ROUTES(family).toSorted());
    expect(await way(family)).toContain(`src ${POD[family]}`);
    await address('del', SECOND[family]);
    expect(ensured().changed).toEqual([]);
    await expectPristine();
  });

  it.each(FAMILIES)('lets nothing out by IPv%d while the pod has no such address', async (family) => {
    await address('del', POD[family]);
    await ip(family, 'route', 'replace', 'default', 'dev', 'eth0');
    const { inTheWay, routed: now } = ensured();
    expect([inTheWay, now]).toEqual([undefined, routedWithout(family)]);
    expect(await ip(family, 'route', 'show', 'table', '101')).toEqual([expect.stringMatching(/^unreachable default /)]);
    expect(await way(family)).toMatch(/unreachable|No route to host/);
    expect(missing()).toEqual([]);
    await address('add', POD[family]);
    expect(ensured().changed).toEqual(expect.arrayContaining(ROUTES(family)));
    expect(await way(family)).toContain(`src ${POD[family]}`);
    await expectPristine();
  });

  it.each(['all', 'lo'])('does without IPv6 where it is switched off (%s), and with it again', async (device) => {
    writeSysctl(netns, `net.ipv6.conf.${device}.disable_ipv6`, '1');
    expect(ensured().routed).toEqual(routedWithout(6));
    expect(missing()).toEqual([]);
    expect(await way(4)).toContain('dev lo');
    expect(await way(6)).not.toContain('dev eth0');
    writeSysctl(netns, `net.ipv6.conf.${device}.disable_ipv6`, '0');
    if (device === 'all') {
      await address('add', POD[6]);
      await ip(6, 'route', 'add', 'default', 'dev', 'eth0');
    }
    expect(missing()).toEqual(expect.arrayContaining(['IPv6 route', 'IPv6 rule', 'IPv6 capture route']));
    expect(ensured().routed).toEqual(ROUTED);
    expect(await way(6)).toContain(`src ${POD[6]}`);
    await expectPristine();
  });

  it('is limited to IPv4 by its option, even later', async () => {
    ensured();
    expect(ensured(byRoute, false).routed).toEqual(routed({ ipv4: true, ipv6: false }));
    expect(await way(4)).toContain('dev lo');
    expect((await ip(6, 'rule')).join()).not.toMatch(/fwmark/);
    expect(ensured()).toMatchObject({ routed: ROUTED });
  });

  it('is removed even if nobody remembers it', () => {
    ensured();
    memory = undefined;
    expect(ensured().changed).toEqual([]);
    memory = undefined;
  });

  describe('of an older release', () => {
    /** What the older release did, apart from the filter: the same rules, routes and sysctls. */
    function asBefore(keepQdisc: boolean): StateMemory {
      const { memory: now } = ensured(byRewrite);
      execFileSync(TC_FILTER, [pod.path, 'lo', 'sluice_lo', '1', '0x539']);
      return { ...now, keepQdisc };
    }
    const tc = (...words: string[]): Promise<string[]> => pod.run(['tc', ...words]);

    it.each([byRoute, byRewrite])('loses its filter and keeps everything else (%o)', async (capture) => {
      ensured(capture);
      const full = await state();
      removeState(netns, { memory });
      memory = undefined;
      memory = asBefore(false);
      const result = ensured(capture);
      expect(result.changed).toEqual(capture === byRoute ? [...CAPTURE.toSorted(byKind), 'filter'] : ['filter']);
      expect(result.memory).toEqual({
        netnsCookie: String(netns.cookie),
        sysctls: {
          'net.ipv4.tcp_fwmark_accept': '0',
          'net.ipv4.fwmark_reflect': '0',
          'net.ipv6.fwmark_reflect': '0',
        },
      });
      expect((await state()).toSorted()).toEqual(full.toSorted());
      expect(ensured(capture).changed).toEqual([]);
    });

    it('is known by its filter if nobody remembers it, and undone', async () => {
      for (const undo of ['apply', 'remove'] as const) {
        memory = undefined;
        asBefore(false);
        for (const family of FAMILIES) {
          await ip(family, 'rule', 'delete', 'priority', '32764');
          await ip(family, 'route', 'flush', 'table', '100');
        }
        memory = undefined;
        expect(isChanged(netns)).toBe(true);
        if (undo === 'apply') expect(ensured(byRewrite).changed).toContain('filter');
        removeState(netns, { memory });
        expect(await state()).toEqual(pristine);
      }
    });

    it('leaves the qdisc and the filters of others', async () => {
      await tc('qdisc', 'add', 'dev', 'lo', 'clsact');
      await tc('filter', 'add', 'dev', 'lo', 'ingress', 'pref', '7', ...U32);
      const theirs = await state();
      for (const undo of ['apply', 'remove'] as const) {
        memory = undefined;
        memory = asBefore(true);
        if (undo === 'apply') expect(ensured(byRewrite).changed).toEqual(['filter']);
        removeState(netns, { memory });
        expect(await state()).toEqual(theirs);
      }
      await tc('filter', 'delete', 'dev', 'lo', 'ingress');
      memory = undefined;
      memory = asBefore(true);
      ensured();
      expect((await tc('qdisc', 'show', 'dev', 'lo')).join()).toContain('clsact');
      // What this release remembers is nothing of a qdisc, so that it leaves alone what comes later.
      execFileSync(TC_FILTER, [pod.path, 'lo', 'somebody_else', '1', '0x539']);
      ensured();
      removeState(netns, { memory });
      expect((await tc('filter', 'show', 'dev', 'lo', 'ingress')).join()).toContain('somebody_else');
      await tc('qdisc', 'delete', 'dev', 'lo', 'clsact');
    });
  });
});
