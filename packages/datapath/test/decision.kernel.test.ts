// The two decision tables against each other: random callers, destinations and maps. The model says what must happen,
// the kernel's programs are asked through real sockets, and both the outcome and the reported reason have to agree.
import { dirname } from 'node:path';
import fc from 'fast-check';
import { BpfMap } from '@sluice/libbpf';
import {
  listeningSockets,
  Netns,
  netnsCookie,
  silentListener,
  type ListeningSocket,
  type OwnedFd,
} from '@sluice/linux';
import {
  Cgroup,
  HostProcess,
  LineProcess,
  cgroup2Root,
  endpoint,
  enterCommand,
  peerProgram,
  requires,
  type DialOptions,
  type DialResult,
  type Pod,
} from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CaptureMark, InstalledDatapath, WorkloadFlag, canonicalAddress, decide } from '../src/index.js';
import { isLoopback } from '../src/address.js';
import type { CgroupInfo, Decision, DecisionRecord, DesiredMaps, TrafficRule, Query } from '../src/index.js';
import { maps as codecs } from '../src/generated/maps.js';
import { MeshedNode, cgroupId, levelOf } from './meshed-node.js';
import { prepareRouting } from './routed-netns.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');
const CASES = 1200;
/** Which other one it is does not matter. */
const INDEXES = { none: 0, lo: 1, eth0: 2 };
const PORTS = [80, 443, 5432, 53];
const ROUTES = [
  { ipv4: true, ipv6: true },
  { ipv4: true, ipv6: true },
  { ipv4: true, ipv6: false },
  { ipv4: false, ipv6: true },
  { ipv4: false, ipv6: false },
];

interface Caller {
  readonly name: string;
  readonly cgroups: Query['cgroups'];
  readonly netnsCookie: bigint;
  dial(to: string, options?: DialOptions): Promise<DialResult>;
}

function caller(name: string, cgroup: string, netns: string, by: Pick<Caller, 'dial'>): Caller {
  const cgroups: { id: bigint; level: number }[] = [];
  for (let path = cgroup; path !== cgroup2Root(); path = dirname(path)) {
    cgroups.push({ id: cgroupId(path), level: levelOf(path) });
  }
  return { name, cgroups, netnsCookie: netnsCookie(netns), dial: (to, options) => by.dial(to, options) };
}

/** How long the client of a connection that has to wait has patience, in milliseconds. */
const IMPATIENT = 100;

/** What happened to a connection, in the words of the table. */
function outcome(result: DialResult): string {
  const [hop] = result.hops;
  if (result.error === 'ETIMEDOUT') return 'hold';
  if (result.error === 'ECONNREFUSED') return 'refuse';
  if (!result.ok || hop === undefined) return `failed: ${result.error} ${result.readError}`;
  if (hop.originalDst === undefined) return 'pass';
  if (hop.port === 15001 && hop.originalDstFrom === 'local') return 'route';
  return { 15001: 'redirect', 15006: 'to-mesh', 15053: 'dns' }[hop.port ?? 0] ?? `port ${hop.port}`;
}

describe.skipIf(need.skip)(`the decision table in the kernel${need.label}`, () => {
  let mesh: MeshedNode;
  let pods: Pod[];
  /** Captured by route. Nobody dials it but itself, because the inbound table is not this test's subject. */
  let routed: Pod;
  /** ztunnel's listeners on 15001, by the cookies of the namespaces. */
  const outboundListeners = new Map<bigint, ListeningSocket>();
  let holding: OwnedFd;
  let ztunnelPod: Pod;
  let kubelet: HostProcess;
  let callers: Caller[];

  beforeAll(async () => {
    mesh = await MeshedNode.create();
    const { node } = mesh;
    // It answers by itself: if it dialled on, its own connections would be subject to the random maps.
    const ztunnel = await node.ztunnel({ mode: 'answer' });
    ztunnelPod = ztunnel.pod;
    await ztunnelPod.serve(PORTS);
    await node.remote.dns.stop(); // on port 53 this test needs a server that says who it is
    await node.remote.serve([5432, 53]);
    pods = [];
    for (const name of ['a', 'b', 'c'])
      pods.push(await node.pod({ name, serve: PORTS, cgroupStyle: name === 'b' ? 'systemd' : 'cgroupfs' }));
    const [a, b, c] = pods as [Pod, Pod, Pod];
    const server = enterCommand({ netns: node.netns.path, cgroup: node.cgroup.child('system').path }, [
      peerProgram(),
      'serve',
      '--name',
      'host',
      '--port',
      PORTS.join(','),
    ]);
    await (await LineProcess.start(server)).lineMatching(/^ready$/);
    // A socket that ztunnel opens in a pod's namespace belongs to ztunnel's cgroup.
    routed = await node.pod({ name: 'routed', serve: PORTS });
    for (const pod of [a, b, routed]) {
      const place = { netns: pod.netns, cgroup: ztunnelPod.app.place.cgroup };
      const argv = [peerProgram(), 'ztunnel', '--name', `ztunnel in ${pod.name}`, '--ports', '15001,15053', '--answer'];
      const listening = await LineProcess.start(enterCommand(place, argv));
      await listening.lineMatching(/^ready$/);
      using netns = Netns.open(pod.netns);
      const [socket] = listeningSockets(listening.pid, { ports: [15001] });
      outboundListeners.set(netns.cookie, socket as ListeningSocket);
      if (pod !== routed) continue;
      prepareRouting(netns);
      mesh.datapath.attachNetns(netns);
    }
    holding = silentListener();
    kubelet = await node.kubelet();
    const host = await node.hostProcess();
    const at = async (cgroup: Cgroup, netns: string): Promise<Caller> =>
      caller(cgroup.path, cgroup.path, netns, await HostProcess.start(peerProgram(), cgroup, netns));
    callers = [
      caller('a', a.app.place.cgroup, a.netns, a),
      caller('b', b.app.place.cgroup, b.netns, b),
      caller('c', c.app.place.cgroup, c.netns, c),
      caller('ztunnel', ztunnelPod.app.place.cgroup, ztunnelPod.netns, ztunnelPod),
      caller('host', host.cgroup.path, node.netns.path, host),
      caller('kubelet', kubelet.cgroup.path, node.netns.path, kubelet),
      // A nested cgroup; a process that entered a's netns; two processes of a's cgroup in other namespaces; the
      // kubelet's cgroup in a pod.
      await at(new Cgroup(`${a.app.place.cgroup}/nested`), a.netns),
      await at(node.cgroup.child('system'), a.netns),
      await at(new Cgroup(`${a.cgroup.path}/foreign`), node.netns.path),
      await at(kubelet.cgroup, c.netns),
      await at(new Cgroup(`${a.cgroup.path}/nested-netns`), c.netns),
      caller('routed', routed.app.place.cgroup, routed.netns, routed),
      // Somebody of another pod, with a socket of a's namespace.
      await at(new Cgroup(`${c.cgroup.path}/accomplice`), a.netns),
    ];
  });
  afterAll(async () => {
    for (const socket of outboundListeners.values()) socket.close();
    holding?.close();
    await mesh?.close();
  });

  /** The map of captured listeners is not one of those that the agent writes. */
  function setListeners({ listens, canHold }: Case): void {
    using map = BpfMap.openPinned(`${mesh.pinDirectory}/maps/listeners`);
    for (const [cookie, { fd }] of outboundListeners)
      if (listens) mesh.datapath.captureListener(cookie, 15001, fd);
      else map.delete(codecs.listeners.encodeKey({ netnsCookie: cookie, port: 15001n }));
    if (canHold) mesh.datapath.holdBy(holding.fd);
    else map.delete(codecs.listeners.encodeKey({ netnsCookie: 0n, port: 0n }));
    expect(mesh.datapath.holder() !== undefined).toBe(canHold);
  }

  /**
   * Only in one namespace sk_lookup decides; in the others ztunnel accepts what it gets, captured or not. What is sent there by route
   * comes from the pod's own address, and passes if it is for that address: the pod calls itself, at an address that the maps lack.
   */
  function outcomeOf(
    { verdict, target }: Decision,
    who: Caller,
    ip: string,
    { listens, routed: { route } }: Case,
  ): string {
    const isRouted = verdict === 'route' || (verdict === 'hold' && target === undefined);
    if (isRouted && who.name === 'routed' && routed.ips.includes(canonicalAddress(ip))) return 'pass';
    if (verdict !== 'hold') return verdict;
    if (who.name !== 'routed') return 'redirect';
    return listens ? (route ? 'route' : 'redirect') : 'hold';
  }

  /** Writes what the guard would, and returns the ids. */
  function setExpected(places: readonly number[]): ReadonlySet<bigint> {
    using map = BpfMap.openPinned(`${mesh.pinDirectory}/maps/expected_cgroups`);
    const expected = new Set<bigint>();
    for (const [place, pod] of [...pods, ztunnelPod].entries()) {
      const id = cgroupId(pod.cgroup.path);
      const key = codecs.expected_cgroups.encodeKey(id);
      if (!places.includes(place)) map.delete(key);
      else map.update(key, codecs.expected_cgroups.encodeValue(1));
      if (places.includes(place)) expected.add(id);
    }
    return expected;
  }

  const maybe = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
    fc.option(value, { nil: undefined, freq: 2 });

  const port = fc.constantFrom(...PORTS);
  const cidr = fc.constantFrom('10.66.1.0/24', '10.66.0.0/24', '10.66.1.2/32', '::/0', 'fd66:0:0:1::/64', '0.0.0.0/0');

  /** How one pod may appear in the maps. */
  const standing = fc.record({
    at: fc.constantFrom('pod', 'container', 'netns', 'pod and netns', 'nowhere' as const),
    ipKnown: fc.boolean(),
    inMesh: fc.constantFrom(true, true, true, false),
    cookieKnown: fc.constantFrom(true, true, true, false),
    local: fc.constantFrom('no', 'one family', 'both', 'both'),
    inPod: fc.boolean(),
    route: fc.boolean(),
    pending: fc.constantFrom(false, false, true),
    waiting: fc.constantFrom(0, 0, 0, WorkloadFlag.REFUSE_WAITING, WorkloadFlag.OPEN_WAITING),
    dns: fc.boolean(),
    excludedPort: maybe(port),
    includedPort: maybe(port),
    excludedCidr: maybe(cidr),
    includedCidr: maybe(cidr),
    includesNothing: fc.constantFrom(false, false, false, false, false, true),
  });
  type Standing = typeof standing extends fc.Arbitrary<infer T> ? T : never;

  const arbitraryCase = fc.record({
    // The callers of meshed pods come more often, because most rows of the table are about them.
    caller: fc.constantFrom(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 1, 11, 0, 1, 11, 0, 1, 11, 11, 11),
    destination: fc.nat({ max: 999 }),
    mapped: fc.boolean(),
    port,
    /** Counts for what is for the loopback: elsewhere the device decides, and not the table, what is reached. */
    device: fc.constantFrom(undefined, 'lo' as const, 'eth0' as const),
    mark: fc.constantFrom(0, 0, 0x539, 0xf539, 0x111, CaptureMark.ROUTE_MARK),
    a: standing,
    b: standing,
    // The agent never writes one of a captured pod's entries without the other.
    routed: standing.map((how) => ({ ...how, at: 'pod and netns' as const, inPod: true })),
    routes: fc.constantFrom(...ROUTES),
    listens: fc.constantFrom(true, true, true, false),
    canHold: fc.constantFrom(true, true, false),
    /** Whether the agent knows that the namespace of c lies inside a. */
    nested: fc.boolean(),
    /** Whether the agent has decided that c is in no mesh. */
    isDecided: fc.boolean(),
    ztunnelKnown: fc.boolean(),
    kubeletKnown: fc.boolean(),
    ipv4: fc.boolean(),
    ipv6: fc.boolean(),
    open: fc.boolean(),
    byMark: fc.boolean(),
    unknownOpen: fc.boolean(),
    // The pods that the guard has seen, by their places in the list of setExpected().
    expected: fc.uniqueArray(fc.nat({ max: 3 })),
    anyProber: fc.boolean(),
    everyLevel: fc.boolean(),
  });
  type Case = typeof arbitraryCase extends fc.Arbitrary<infer T> ? T : never;

  function mapsOf(world: Case): DesiredMaps {
    const cgroups = new Map<bigint, CgroupInfo>();
    const netns = new Map<bigint, CgroupInfo>();
    const localPods = new Map<string, { netnsCookie: bigint; flags: number }>();
    const ownAddresses = new Map<bigint, readonly string[]>();
    const rules: TrafficRule[] = [];
    const levels = new Set<number>();
    const put = (path: string, info: CgroupInfo): void => {
      cgroups.set(cgroupId(path), info);
      levels.add(levelOf(path));
    };
    const place = (pod: Pod, how: Standing): void => {
      const id = cgroupId(pod.cgroup.path);
      const info = {
        id,
        inMesh: how.inMesh,
        ip: how.ipKnown ? pod.ip4 : undefined,
        flags:
          (how.inMesh ? WorkloadFlag.AMBIENT : 0) |
          (how.inPod ? WorkloadFlag.IN_POD : 0) |
          (how.route ? WorkloadFlag.ROUTE : 0) |
          (how.dns ? WorkloadFlag.DNS_CAPTURE : 0) |
          (how.includesNothing ? WorkloadFlag.ONLY_INCLUDED_OUTBOUND : 0) |
          (how.pending ? WorkloadFlag.PENDING : 0) |
          how.waiting,
        detectedFlags: WorkloadFlag.AMBIENT,
      };
      const cookie = netnsCookie(pod.netns);
      if (how.at.includes('pod')) put(pod.cgroup.path, info);
      if (how.at === 'container') put(pod.app.place.cgroup, info);
      if (how.at.includes('netns')) netns.set(cookie, info);
      const shown = how.local === 'both' ? pod.ips : how.local === 'no' ? [] : [pod.ip4];
      const flags = WorkloadFlag.AMBIENT | (how.inPod ? WorkloadFlag.IN_POD : 0);
      for (const ip of shown) localPods.set(ip, { netnsCookie: how.cookieKnown ? cookie : 0n, flags });
      if (how.inPod && how.ipKnown) ownAddresses.set(cookie, pod.ips);
      const byPort = { kind: 'port', workload: id, direction: 'outbound' } as const;
      const byCidr = { kind: 'cidr', workload: id } as const;
      if (how.excludedPort !== undefined) rules.push({ ...byPort, action: 'exclude', port: how.excludedPort });
      if (how.includedPort !== undefined) rules.push({ ...byPort, action: 'include', port: how.includedPort });
      if (how.excludedCidr !== undefined) rules.push({ ...byCidr, action: 'exclude', cidr: how.excludedCidr });
      if (how.includedCidr !== undefined) rules.push({ ...byCidr, action: 'include', cidr: how.includedCidr });
    };
    place(pods[0] as Pod, world.a);
    place(pods[1] as Pod, world.b);
    place(routed, world.routed);
    if (world.nested)
      netns.set(netnsCookie((pods[2] as Pod).netns), {
        id: cgroupId((pods[0] as Pod).cgroup.path),
        inMesh: true,
        ip: (pods[0] as Pod).ip4,
        flags: WorkloadFlag.NESTED,
        detectedFlags: 0,
      });
    const special = (path: string, flags: number): void =>
      put(path, { id: cgroupId(path), inMesh: false, ip: undefined, flags, detectedFlags: flags });
    if (world.isDecided) special((pods[2] as Pod).cgroup.path, 0);
    if (world.ztunnelKnown) special(ztunnelPod.cgroup.path, WorkloadFlag.ZTUNNEL);
    if (world.kubeletKnown) special(kubelet.cgroup.path, WorkloadFlag.KUBELET);
    return {
      cgroups,
      netns,
      localPods,
      ownAddresses,
      rules,
      settings: {
        ztunnelIPv4: world.ipv4 ? ztunnelPod.ip4 : undefined,
        ztunnelIPv6: world.ipv6 ? ztunnelPod.ip6 : undefined,
        noZtunnel: world.open ? 'open' : 'closed',
        unknown: world.unknownOpen ? 'open' : 'hold',
        ztunnelByMark: world.byMark,
        probesExempt: world.anyProber ? 'host' : 'kubelet',
        hostNetnsCookie: netnsCookie(mesh.node.netns.path),
        cgroupLevels: world.everyLevel
          ? Array.from({ length: 15 }, (_, level) => level + 1)
          : [...levels].toSorted((x, y) => x - y),
        sampleEvery: 1,
      },
    };
  }

  function destinationOf({ caller: who, destination, mapped }: Case): string {
    const { node } = mesh;
    const addresses = [
      ...node.remote.hosts,
      ...pods.flatMap((pod) => pod.ips),
      ...pods.flatMap((pod) => pod.ips),
      ...((callers[who]?.name === 'routed' ? routed : pods[who])?.ips ?? []),
      node.ip4,
      node.ip6,
      '127.0.0.1',
      '::1',
      '0.0.0.0',
      '::',
    ];
    const ip = addresses[destination % addresses.length] as string;
    return mapped && !ip.includes(':') ? `::ffff:${ip}` : ip;
  }

  it(`agrees with the model in ${CASES} random cases, and reports the row that decided`, async () => {
    const seed = Number(process.env['SLUICE_SEED'] ?? Date.now() % 2 ** 31);
    process.stdout.write(`decision table: seed ${seed} (SLUICE_SEED=${seed} repeats it)\n`);
    using installed = InstalledDatapath.open(mesh.pinDirectory);
    const reported: DecisionRecord[] = [];
    const reader = installed.decisions((batch) => reported.push(...batch));
    const reasons: string[] = [];
    const expected: string[] = [];
    const reasonsExpected: string[] = [];
    let arrived = 0;
    let inOwnPod = false;
    try {
      await fc.assert(
        fc.asyncProperty(arbitraryCase, async (world) => {
          const maps = mapsOf(world);
          expect(mesh.datapath.apply(maps).failures).toEqual([]);
          const who = callers[world.caller] as Caller;
          const ip = destinationOf(world);
          mesh.datapath.setRouted(netnsCookie(routed.netns), new Map([[0, world.routes]]));
          const isRouted = who.name === 'routed' && world.routes[canonicalAddress(ip).includes(':') ? 'ipv6' : 'ipv4'];
          setListeners(world);
          const isListenedFor = world.listens && outboundListeners.has(who.netnsCookie);
          const isDeviceChosen = isLoopback(canonicalAddress(ip)) && who.netnsCookie !== maps.settings.hostNetnsCookie;
          const device = isDeviceChosen ? world.device : undefined;
          const expectedPods = setExpected(world.expected);
          const isExpected = who.cgroups.some(({ id }) => expectedPods.has(id));
          const { mark, canHold, port: dialled } = world;
          const decision = decide(maps, {
            ...who,
            mark,
            isRouted,
            isListenedFor,
            canHold,
            isExpected,
            ip,
            port: dialled,
            device: INDEXES[device ?? 'none'],
          });
          const { verdict, reason, target } = decision;
          const to = endpoint(ip, dialled);
          const expectedOutcome = outcomeOf(decision, who, ip, world);
          // It leaves the pod for nowhere.
          const isLost = device === 'eth0' && verdict === 'pass';
          const options = {
            ...(mark === 0 ? {} : { mark }),
            ...(device === undefined ? {} : { device }),
            ...(expectedOutcome === 'hold' || isLost ? { timeout: IMPATIENT } : {}),
          };
          const result = await who.dial(to, options);
          const where = `for ${who.name} to ${to} (${verdict} ${reason})`;
          if (!isLost) expect(`${outcome(result)} ${where}`).toBe(`${expectedOutcome} ${where}`);
          if (target !== undefined && expectedOutcome !== 'hold') {
            if (verdict !== 'dns') expect(result.hops[0]?.originalDst).toBe(endpoint(canonicalAddress(ip), world.port));
            expect(result.peername).toBe(to);
            expect(result.hops[0]?.local).toBe(endpoint(target.ip, target.port));
            inOwnPod ||= verdict === 'redirect' && target.ip !== ztunnelPod.ip4 && target.ip !== ztunnelPod.ip6;
          }
          if (verdict === 'route' && expectedOutcome === 'route') {
            expect(result.hops[0]?.originalDst).toBe(endpoint(canonicalAddress(ip), world.port));
            expect(result.peername).toBe(to);
          }
          expected.push(verdict === 'route' || verdict === 'hold' ? verdict : reason);
          reasonsExpected.push(`${verdict} ${reason}`);
          arrived += 1;
          while (reported.length < arrived) await new Promise((resolve) => setImmediate(resolve));
          reasons.push(`${reported[arrived - 1]?.verdict} ${reported[arrived - 1]?.reason}`);
          expect(reported[arrived - 1]).toMatchObject({
            verdict,
            reason,
            ip: canonicalAddress(ip),
            port: world.port,
            netnsCookie: who.netnsCookie,
          });
        }),
        { numRuns: CASES, seed, endOnFailure: true },
      );
    } finally {
      reader.close();
    }
    expect(reasons).toEqual(reasonsExpected);
    expect(inOwnPod).toBe(true);
    // If a row never decided, the cases are not as random as they look.
    expect([...new Set(expected)].toSorted()).toEqual(
      [
        'dns',
        'excluded',
        'hold',
        'loopback',
        'no-ztunnel',
        'not-in-mesh',
        'other-netns',
        'pending',
        'probe',
        'redirect',
        'route',
        'self',
        'to-mesh',
        'unknown',
        'unprepared',
        'ztunnel',
      ].toSorted(),
    );
  });
});
