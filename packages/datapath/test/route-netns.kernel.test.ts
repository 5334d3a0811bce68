// Capture by route in namespaces of all kinds: whatever the sysctls are, whichever rules and routes are flushed, whatever
// the application binds; and what the pod, its neighbours and the node reach in it.
import { addRule, deleteRoute, deleteRule, Netns, netnsCookie, readSysctl, writeSysctl } from '@sluice/linux';
import {
  endpoint,
  LineProcess,
  enterCommand,
  requires,
  type DialResult,
  type HostProcess,
  type Pod,
} from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readRoutedNetns, WorkloadFlag } from '../src/index.js';
import { CaptureMark } from '../src/generated/maps.js';
import { InPodNode } from './in-pod-node.js';
import type { MeshedNode } from './meshed-node.js';
import { FAMILIES, segmentsReceived, type Family } from './route-cases.js';
import {
  captureRoutes,
  lookupRules,
  prepareRouting,
  ROUTE_TABLE,
  undoRouting,
  unreachableRules,
} from './routed-netns.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');
const UNREACHABLE = /^E(NET|HOST)UNREACH$/;

describe.skipIf(need.skip)(`namespaces of pods that are captured by route${need.label}`, () => {
  let node: InPodNode;
  let remote: MeshedNode['node']['remote'];
  let plain: Pod;
  let host: HostProcess;
  let pods = 0;

  beforeAll(async () => {
    node = await InPodNode.create({ capture: 'route' });
    remote = node.mesh.node.remote;
    plain = await node.mesh.node.pod({ name: 'plain' });
    host = await node.mesh.node.hostProcess();
  });
  afterAll(async () => node?.close());

  /** A new pod, captured by route, and its namespace. */
  async function routed(serve: readonly number[] = []): Promise<{ pod: Pod; netns: Netns } & Disposable> {
    const pod = await node.pod({ name: `p${pods++}`, serve });
    const netns = Netns.open(pod.netns);
    return { pod, netns, [Symbol.dispose]: () => netns.close() };
  }
  const outside = (family: Family): string => endpoint(remote[family], 80);
  const acceptors = ({ hops, error }: DialResult): (string | undefined)[] =>
    error === '' ? hops.map(({ by, error: why }) => by ?? why) : [error];

  async function expectCaptured(pod: Pod): Promise<void> {
    for (const family of FAMILIES) {
      const result = await pod.dial(outside(family));
      expect(result.hops).toMatchObject([{ by: 'ztunnel', originalDst: outside(family) }, { by: 'remote' }]);
    }
  }

  describe('before the agent has said that a namespace is prepared', () => {
    it('connections are refused, whatever the policy is, and the families one by one', async () => {
      using at = await routed();
      const { datapath } = node.mesh;
      const { cookie } = at.netns;
      node.enrol(at.pod, WorkloadFlag.OPEN_WAITING);
      const refused = ['ECONNREFUSED'];
      const both = async (): Promise<unknown[]> =>
        Promise.all(FAMILIES.map(async (family) => acceptors(await at.pod.dial(outside(family)))));
      const captured = ['ztunnel', 'remote'];
      const prepared = (ipv4: boolean, ipv6: boolean) => new Map([[0, { ipv4, ipv6 }]]);
      datapath.setRouted(cookie, new Map());
      expect(datapath.routed().get(cookie)).toBeUndefined();
      expect(await both()).toEqual([refused, refused]);
      datapath.setRouted(cookie, prepared(true, false));
      expect(datapath.routed().get(cookie)).toEqual(prepared(true, false));
      expect(readRoutedNetns(node.mesh.pinDirectory)?.get(cookie)).toEqual(prepared(true, false));
      expect(readRoutedNetns(`${node.mesh.pinDirectory}/nowhere`)).toBeUndefined();
      expect(await both()).toEqual([captured, refused]);
      datapath.setRouted(cookie, prepared(false, true));
      expect(await both()).toEqual([refused, captured]);
      const counted = datapath.counters().decisions.find(({ reason }) => reason === 'unprepared');
      expect(counted).toMatchObject({ verdict: 'refuse' });
    });

    it('and prepared without a listener of ztunnel’s, they are refused', async () => {
      const pod = await node.mesh.node.pod({ name: `p${pods++}` });
      node.enrol(pod);
      for (const family of FAMILIES) expect(acceptors(await pod.dial(outside(family)))).toEqual(['ECONNREFUSED']);
      await node.serve(pod);
      await expectCaptured(pod);
    });

    it('and prepared without the program, nothing gets out', async () => {
      using at = await routed();
      node.mesh.datapath.detachNetns(at.netns.cookie);
      const before = await segmentsReceived(remote.netns);
      // The kernel resets no IPv4 connection in the name of an address that it does not have: the SYN is sent again.
      expect(await at.pod.dial(outside('ip4'), { timeout: 1500 })).toMatchObject({ error: 'ETIMEDOUT', hops: [] });
      expect(acceptors(await at.pod.dial(outside('ip6')))).toEqual(['ECONNREFUSED']);
      expect(await segmentsReceived(remote.netns)).toBe(before);
    });
  });

  describe.each([
    ['net.ipv4.conf.*.rp_filter', '1'],
    ['net.ipv4.conf.*.rp_filter', '2'],
    ['net.ipv4.conf.*.rp_filter', '0'],
    ['net.ipv4.conf.*.accept_local', '0'],
    ['net.ipv4.conf.*.accept_local', '1'],
    ['net.ipv4.conf.*.src_valid_mark', '1'],
    ['net.ipv4.conf.*.route_localnet', '1'],
    ['net.ipv4.ip_forward', '1'],
    ['net.ipv6.conf.*.forwarding', '1'],
    ['net.ipv4.tcp_syncookies', '2'],
    ['net.ipv4.tcp_l3mdev_accept', '1'],
    ['net.ipv4.ip_nonlocal_bind', '1'],
  ])('%s = %s', (name, value) => {
    it.each(['0', '1'])('captured, with rp_filter %s as well', async (strict) => {
      using at = await routed([8080]);
      const devices = ['all', 'default', 'lo', 'eth0'];
      for (const device of devices) writeSysctl(at.netns, `net.ipv4.conf.${device}.rp_filter`, strict);
      for (const device of name.includes('*') ? devices : ['']) writeSysctl(at.netns, name.replace('*', device), value);
      await expectCaptured(at.pod);
      for (const family of FAMILIES) {
        const to = endpoint(at.pod[family], 8080);
        // What comes in still keeps the client's address.
        const { hops, sockname } = await remote.dial(to);
        expect(hops).toMatchObject([
          { by: 'ztunnel', port: 15006 },
          { peer: expect.stringContaining(sockname.replace(/:\d+$/, '')) },
        ]);
        expect(acceptors(await at.pod.dial(to))).toEqual([`default/${at.pod.name}`]);
      }
    });
  });

  describe('under load', () => {
    /** Flushes something while connections are made, and puts it back. Returns what became of the connections. */
    async function whileFlushed(at: { pod: Pod; netns: Netns }, flush: () => void, putBack: () => void) {
      // One that is half made when the rules go is not answered before they are back.
      const load = await at.pod.load(FAMILIES.map(outside), { timeoutMs: 2000 });
      await load.progress(20);
      flush();
      await load.progress(20);
      putBack();
      await load.progress(20);
      return load.stop();
    }

    /** Or it was half made: then its client gives it up, sooner or later. */
    function expectUnreachable({ error, hops }: { error: string; hops: readonly unknown[] }): void {
      expect(hops).toEqual([]);
      if (error !== '' && error !== 'ETIMEDOUT') expect(error).toMatch(UNREACHABLE);
    }

    it('a rule that leads to the table, flushed alone: nothing gets out, and nothing breaks for good', async () => {
      using at = await routed();
      const echo = await remote.serve([9000], { echo: true });
      const streams = await Promise.all(FAMILIES.map((family) => at.pod.stream(endpoint(remote[family], 9000))));
      const { direct, redirected, errors, firstErrors } = await whileFlushed(
        at,
        () => lookupRules.forEach((rule) => deleteRule(at.netns, rule)),
        () => lookupRules.forEach((rule) => addRule(at.netns, rule)),
      );
      expect(direct).toBe(0);
      expect(redirected).toBeGreaterThanOrEqual(40);
      expect(errors).toBeGreaterThanOrEqual(20);
      for (const failure of firstErrors) expectUnreachable(failure);
      for (const stream of streams) {
        await stream.progress(2);
        expect(await stream.stop()).toMatchObject({ broken: '' });
      }
      await echo.stop();
    });

    it('the routes, flushed alone: nothing gets out', async () => {
      using at = await routed();
      const { direct, redirected, errors, firstErrors } = await whileFlushed(
        at,
        () => captureRoutes(at.netns).forEach((route) => deleteRoute(at.netns, route)),
        () => prepareRouting(at.netns),
      );
      expect(direct).toBe(0);
      expect(redirected).toBeGreaterThanOrEqual(40);
      expect(errors).toBeGreaterThanOrEqual(20);
      for (const failure of firstErrors) expectUnreachable(failure);
    });

    it('the route of the loopback, flushed alone: everything stays in the mesh, by the one of the device', async () => {
      using at = await routed();
      const ofLoopback = captureRoutes(at.netns).filter((route) => route.interface === 'lo');
      expect(ofLoopback).toHaveLength(2);
      const summary = await whileFlushed(
        at,
        () => ofLoopback.forEach((route) => deleteRoute(at.netns, route)),
        () => prepareRouting(at.netns),
      );
      expect(summary).toMatchObject({ direct: 0, refused: 0, errors: 0 });
    });

    it('the rule behind it, flushed alone: everything stays in the mesh', async () => {
      using at = await routed();
      const summary = await whileFlushed(
        at,
        () => unreachableRules.forEach((rule) => deleteRule(at.netns, rule)),
        () => unreachableRules.forEach((rule) => addRule(at.netns, rule)),
      );
      expect(summary).toMatchObject({ direct: 0, refused: 0, errors: 0 });
    });

    it('everything, flushed as ip(8) does it: once the agent has heard of the first rule, nothing gets out', async () => {
      using at = await routed();
      const { datapath } = node.mesh;
      const inside = (...argv: string[]): Promise<LineProcess> =>
        LineProcess.start(enterCommand({ netns: at.pod.netns }, ['ip', ...argv]));
      // As the agent does: the entry goes at the first notification.
      const monitor = await inside('monitor', 'rule');
      const heard = monitor
        .until((line) => line.startsWith('Deleted 1:'))
        .then(() => datapath.setRouted(at.netns.cookie, new Map()));
      // One that is half made when the rules go is not answered any more.
      const load = await at.pod.load([outside('ip4')], { timeoutMs: 2000 });
      await load.progress(20);
      await (
        await inside('rule', 'flush')
      ).exited;
      await heard;
      const summary = await load.stop();
      expect(summary.refused + summary.redirected + summary.errors + summary.direct).toBe(summary.attempts);
      for (const family of FAMILIES) expect(acceptors(await at.pod.dial(outside(family)))).toEqual(['ECONNREFUSED']);
      datapath.setRouted(at.netns.cookie, prepareRouting(at.netns));
      await (
        await inside('rule', 'add', 'pref', '32766', 'lookup', 'main')
      ).exited;
      expect(acceptors(await at.pod.dial(outside('ip4')))).toEqual(['ztunnel', 'remote']);
      await monitor.stop();
    });
  });

  it('a family without an address is unreachable, the other one is captured', async () => {
    for (const [only, other] of [
      [4, 'ip6'],
      [6, 'ip4'],
    ] as const) {
      const pod = await node.pod({ name: `only-${only}`, families: [only] });
      const mine = only === 4 ? 'ip4' : 'ip6';
      expect(acceptors(await pod.dial(outside(mine)))).toEqual(['ztunnel', 'remote']);
      expect((await pod.dial(outside(other))).error).toMatch(UNREACHABLE);
    }
  });

  describe.each(FAMILIES)('an application that binds the port that the pod talks to, %s', (family) => {
    it.each([true, false])('binds and starts again as without a mesh (SO_REUSEADDR: %s)', async (reuseAddress) => {
      const port = (family === 'ip4' ? 9080 : 9082) + (reuseAddress ? 1 : 0);
      const echo = await remote.serve([port], { echo: true });
      using at = await routed();
      const stream = await at.pod.stream(endpoint(remote[family], port));
      expect(stream.hops[0]).toMatchObject({ by: 'ztunnel', local: endpoint(remote[family], port) });
      const application = await at.pod.serve([port], { reuseAddress });
      // It has the port, and nobody else gets it.
      await expect(at.pod.serve([port], { reuseAddress })).rejects.toThrow('Address already in use');
      await application.restart();
      await stream.progress(2);
      const { hops } = await remote.dial(endpoint(at.pod[family], port));
      expect(hops).toMatchObject([{ by: 'ztunnel', port: 15006 }, { by: `default/${at.pod.name}` }]);
      await stream.progress(2);
      expect(await stream.stop()).toMatchObject({ broken: '' });
      for (const server of [application, echo]) await server.stop();
    });
  });

  describe.each(FAMILIES)('what a pod dials of its own, %s', (family) => {
    const secondary = (n: number): string => (family === 'ip4' ? `10.66.8.${n}` : `fd66:8::${n}`);

    it('its address is not captured, nor a further one, whatever it is bound to', async () => {
      using at = await routed([8080]);
      await at.pod.addAddress(secondary(1));
      await at.pod.addAddress(secondary(2), 'lo');
      for (const n of [1, 2]) node.own(at.pod, secondary(n));
      const own = [at.pod[family], secondary(1), secondary(2)];
      for (const to of own)
        for (const from of [undefined, ...own]) {
          const result = await at.pod.dial(endpoint(to, 8080), from === undefined ? {} : { bind: endpoint(from, 0) });
          expect(acceptors(result)).toEqual([`default/${at.pod.name}`]);
        }
    });

    it('one that was added a second ago gets to the application, and is its own as soon as the agent knows it', async () => {
      using at = await routed([8080]);
      const to = endpoint(secondary(3), 8080);
      await at.pod.addAddress(secondary(3));
      for (const bind of [secondary(3), at.pod[family]]) {
        const result = await at.pod.dial(to, { bind: endpoint(bind, 0) });
        expect(acceptors(result).at(-1)).toBe(`default/${at.pod.name}`);
      }
      node.own(at.pod, secondary(3));
      for (const bind of [secondary(3), at.pod[family]])
        expect(acceptors(await at.pod.dial(to, { bind: endpoint(bind, 0) }))).toEqual([`default/${at.pod.name}`]);
    });

    it('its own Service is ztunnel’s', async () => {
      using at = await routed([8080]);
      const service = endpoint(family === 'ip4' ? '10.96.0.9' : 'fd96::9', 8080);
      expect((await at.pod.dial(service)).hops[0]).toMatchObject({ by: 'ztunnel', port: 15001, originalDst: service });
    });
  });

  it.each(FAMILIES)('15001 of a pod is refused to everybody outside, %s', async (family) => {
    using at = await routed([8080]);
    using other = await routed();
    const to = endpoint(at.pod[family], 15_001);
    for (const from of [remote, plain, host]) expect(acceptors(await from.dial(to))).toEqual(['ECONNREFUSED']);
    // By its own ztunnel, which dials the same.
    expect(acceptors(await other.pod.dial(to))).toEqual(['ztunnel', 'dial']);
    // The pod itself reaches no listener of ztunnel's under its own name either.
    expect((await at.pod.dial(to)).hops.some(({ port }) => port === 15_001)).toBe(false);
    const accepted = node.ztunnel.accepted.filter(({ pod, originalDst }) => pod === at.pod.uid && originalDst === to);
    expect(accepted).toEqual([]);
  });

  it('a pod that may change its rules is captured by rewrite, and stays in the mesh whatever it does', async () => {
    const admin = await node.mesh.node.pod({ name: 'admin' });
    node.enrol(admin, 0, 'rewrite');
    await node.serve(admin);
    const inside = (...argv: string[]) => LineProcess.start(enterCommand({ netns: admin.netns }, ['ip', ...argv]));
    for (const argv of [
      ['rule', 'add', 'pref', '1', 'fwmark', `${CaptureMark.ROUTE_MARK}/${CaptureMark.ROUTE_MARK}`, 'lookup', 'main'],
      ['rule', 'del', 'pref', '32764'],
      ['route', 'flush', 'table', String(ROUTE_TABLE)],
    ])
      await (
        await inside(...argv)
      ).exited;
    for (const family of FAMILIES)
      for (const mark of [0, CaptureMark.ROUTE_MARK, 0x539]) {
        const { hops } = await admin.dial(outside(family), { mark });
        expect(hops).toMatchObject([{ by: 'ztunnel', originalDst: outside(family) }, { by: 'remote' }]);
      }
  });

  it('a ztunnel without IP_TRANSPARENT works with the rewrite; by route IPv4 is not answered', async () => {
    const shy = await InPodNode.create({ capture: 'rewrite', ztunnel: { originalSource: false } });
    try {
      const pod = await shy.pod({ name: 'a' });
      const to = (family: Family): string => endpoint(shy.mesh.node.remote[family], 80);
      for (const family of FAMILIES)
        expect((await pod.dial(to(family))).hops).toMatchObject([{ by: 'ztunnel' }, { by: 'remote' }]);
      shy.enrol(pod, 0, 'route');
      // The kernel answers in the name of another address only for a transparent socket, but asks only in IPv4.
      expect(await pod.dial(to('ip4'), { timeout: 1500 })).toMatchObject({ ok: false, hops: [] });
      expect((await pod.dial(to('ip6'))).hops[0]).toMatchObject({ by: 'ztunnel', originalDst: to('ip6') });
      shy.enrol(pod, 0, 'rewrite');
      for (const family of FAMILIES) expect((await pod.dial(to(family))).hops[0]).toMatchObject({ by: 'ztunnel' });
    } finally {
      await shy.close();
    }
  });

  it('leaving undoes everything', async () => {
    using at = await routed();
    const before = readSysctl(at.netns, 'net.ipv4.tcp_fwmark_accept');
    expect(before).toBe('1');
    node.mesh.leave(at.pod);
    node.mesh.apply();
    node.mesh.datapath.setRouted(at.netns.cookie, new Map());
    undoRouting(at.netns);
    for (const family of FAMILIES) expect(acceptors(await at.pod.dial(outside(family)))).toEqual(['remote']);
    expect(node.mesh.datapath.routed().has(netnsCookie(at.pod.netns))).toBe(false);
    expect(WorkloadFlag.ROUTE).toBe(1 << 10);
  });
});
