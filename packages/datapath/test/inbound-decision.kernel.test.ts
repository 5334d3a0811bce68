// The two inbound tables against each other: random pods, rules and clients. The models of both directions say what must
// happen, the kernel's programs are asked through real sockets, and both the outcome and the counted row have to agree.
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
  cgroup2Root,
  endpoint,
  peerProgram,
  requires,
  type DialOptions,
  type DialResult,
  type Pod,
} from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NOT_IN_MESH, WorkloadFlag, decide, decideInbound } from '../src/index.js';
import type {
  CgroupInfo,
  Decision,
  DesiredMaps,
  InboundCount,
  InboundDecision,
  LocalPod,
  TrafficRule,
} from '../src/index.js';
import { maps as codecs } from '../src/generated/maps.js';
import { InPodNode, listenLikeZtunnel } from './in-pod-node.js';
import { cgroupId, levelOf } from './meshed-node.js';
import { prepareRouting } from './routed-netns.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');
const CASES = 1200;
const SECONDARY = '10.66.8.1';
const APPLICATION = 80;
const NOBODY = 81;
const PORTS = [APPLICATION, APPLICATION, APPLICATION, NOBODY, 15001, 15006, 15008];
const LISTENERS = [15001, 15006];

interface Client {
  readonly name: string;
  /** Undefined: the client is on another node, where no program of ours sees it. */
  readonly place: { readonly cgroup: string; readonly netns: string } | undefined;
  dial(to: string, options?: DialOptions): Promise<DialResult>;
}

/** How long the client of a connection that has to wait has patience, in milliseconds. */
const IMPATIENT = 100;

/** What happened, in the words that {@link expectation} uses. */
function outcome({ hops: [hop], ok, error }: DialResult): string {
  if (error === 'ECONNREFUSED') return 'refused';
  if (error === 'ETIMEDOUT') return 'held';
  return ok && hop !== undefined ? `${hop.by} on ${hop.port}` : `failed: ${error}`;
}

describe.skipIf(need.skip)(`the inbound table in the kernel${need.label}`, () => {
  let world: InPodNode;
  let pods: readonly [Pod, Pod];
  let clients: readonly Client[];
  let kubelet: HostProcess;
  let holding: OwnedFd;
  /** Each listener with its pod. */
  const listeners: (readonly [Pod, ListeningSocket])[] = [];

  beforeAll(async () => {
    world = await InPodNode.create();
    const { mesh, ztunnel } = world;
    const { node } = mesh;
    const ztunnelCgroup = new Cgroup(ztunnel.pod.app.place.cgroup);
    pods = [await node.pod({ name: 'a', serve: [APPLICATION] }), await node.pod({ name: 'b', serve: [APPLICATION] })];
    for (const pod of pods) {
      using netns = Netns.open(pod.netns);
      mesh.datapath.attachNetns(netns);
      const { pid } = await listenLikeZtunnel(pod, ztunnelCgroup.path, {
        name: `ztunnel of ${pod.name}`,
        ports: [...LISTENERS, 15008],
        answer: true,
      });
      for (const socket of listeningSockets(pid, { ports: LISTENERS })) listeners.push([pod, socket]);
    }
    const [a] = pods;
    await a.addAddress(SECONDARY);
    using netns = Netns.open(a.netns);
    mesh.datapath.setRouted(netns.cookie, prepareRouting(netns));
    kubelet = await node.kubelet();
    holding = silentListener();
    const host = await node.hostProcess();
    const remote = await node.remote.client();
    const inPod = await HostProcess.start(peerProgram(), ztunnelCgroup, a.netns);
    clients = [
      { name: 'another node', place: undefined, dial: (to, options) => remote.dial(to, options) },
      client('the host', host.cgroup.path, node.netns.path, host),
      client('the kubelet', kubelet.cgroup.path, node.netns.path, kubelet),
      client('a', a.app.place.cgroup, a.netns, a),
      client('ztunnel in a', ztunnelCgroup.path, a.netns, inPod),
    ];
  });
  afterAll(async () => {
    for (const [, socket] of listeners) socket.close();
    holding?.close();
    await world?.close();
  });

  function client(name: string, cgroup: string, netns: string, by: Pick<Client, 'dial'>): Client {
    return { name, place: { cgroup, netns }, dial: (to, options) => by.dial(to, options) };
  }

  /** How one pod may appear in the maps. */
  const standing = fc.record({
    /** `out`: it enters the mesh or leaves it. */
    known: fc.constantFrom('yes', 'yes', 'yes', 'yes', 'yes', 'yes', 'no', 'out'),
    inPod: fc.constantFrom(true, true, true, true, false),
    pending: fc.constantFrom(false, false, false, true),
    waiting: fc.constantFrom(0, 0, WorkloadFlag.REFUSE_WAITING, WorkloadFlag.OPEN_WAITING),
    bypass: fc.constantFrom(false, false, false, true),
    route: fc.boolean(),
    /** Which of its addresses the agent knows as its own. */
    own: fc.constantFrom('none', 'IPs', 'all', 'all'),
    cookieKnown: fc.constantFrom(true, true, true, false),
    excluded: fc.constantFrom<number[][]>([], [], [APPLICATION], [15001, 15006]),
    included: fc.constantFrom<number[][]>([], [], [], [APPLICATION], [NOBODY]),
    listeners: fc.constantFrom<number[][]>(LISTENERS, LISTENERS, [15001], [15006], []),
  });
  type Standing = typeof standing extends fc.Arbitrary<infer T> ? T : never;

  const arbitraryCase = fc.record({
    client: fc.constantFrom(0, 1, 2, 3, 4, 0, 3),
    destination: fc.nat({ max: 999 }),
    mapped: fc.boolean(),
    fromSecondary: fc.boolean(),
    port: fc.constantFrom(...PORTS),
    a: standing,
    b: standing,
    ztunnelKnown: fc.constantFrom(true, true, true, false),
    probesExempt: fc.constantFrom('kubelet', 'host'),
    canHold: fc.constantFrom(true, true, false),
  });
  type Case = typeof arbitraryCase extends fc.Arbitrary<infer T> ? T : never;

  function mapsOf(world_: Case): DesiredMaps {
    const cgroups = new Map<bigint, CgroupInfo>();
    const netns = new Map<bigint, CgroupInfo>();
    const localPods = new Map<string, LocalPod>();
    const ownAddresses = new Map<bigint, readonly string[]>();
    const rules: TrafficRule[] = [];
    const levels = new Set<number>();
    const put = (path: string, info: CgroupInfo): void => {
      cgroups.set(cgroupId(path), info);
      levels.add(levelOf(path));
    };
    const stand = (pod: Pod, how: Standing): void => {
      if (how.known === 'out') netns.set(netnsCookie(pod.netns), NOT_IN_MESH);
      if (how.known !== 'yes') return;
      const id = cgroupId(pod.cgroup.path);
      const flags =
        WorkloadFlag.AMBIENT |
        (how.inPod ? WorkloadFlag.IN_POD : 0) |
        (how.pending ? WorkloadFlag.PENDING : 0) |
        how.waiting |
        (how.route && pod === pods[0] ? WorkloadFlag.ROUTE : 0) |
        (how.bypass ? WorkloadFlag.BYPASS_INBOUND : 0);
      const info = { id, inMesh: true, ip: pod.ip4, flags, detectedFlags: flags };
      const cookie = netnsCookie(pod.netns);
      put(pod.cgroup.path, info);
      netns.set(cookie, info);
      for (const ip of pod.ips) localPods.set(ip, { netnsCookie: how.cookieKnown ? cookie : 0n, flags });
      if (how.own !== 'none')
        ownAddresses.set(cookie, how.own === 'all' && pod === pods[0] ? [...pod.ips, SECONDARY] : pod.ips);
      const rule = { kind: 'port', workload: id, direction: 'inbound' } as const;
      for (const port of how.excluded) rules.push({ ...rule, action: 'exclude', port });
      for (const port of how.included) rules.push({ ...rule, action: 'include', port });
    };
    stand(pods[0], world_.a);
    stand(pods[1], world_.b);
    const special = (path: string, flags: number): void =>
      put(path, { id: cgroupId(path), inMesh: false, ip: undefined, flags, detectedFlags: flags });
    if (world_.ztunnelKnown) special(world.ztunnel.pod.cgroup.path, WorkloadFlag.ZTUNNEL);
    special(kubelet.cgroup.path, WorkloadFlag.KUBELET);
    const cgroupLevels = [...levels].toSorted((x, y) => x - y);
    const { settings } = world.mesh.desired;
    const { probesExempt } = world_;
    // There is no ztunnel of the node: a connection that would be sent to it is refused.
    const nowhere = { ztunnelIPv4: undefined, ztunnelIPv6: undefined, noZtunnel: 'closed' } as const;
    const policies = { probesExempt, cgroupLevels } as const;
    return { cgroups, netns, localPods, ownAddresses, rules, settings: { ...settings, ...nowhere, ...policies } };
  }

  /** The map of captured listeners is not one of those that the agent writes. */
  function setListeners(world_: Case): void {
    using map = BpfMap.openPinned(`${world.mesh.pinDirectory}/maps/listeners`);
    for (const [pod, socket] of listeners) {
      const cookie = netnsCookie(pod.netns);
      const wanted = (pod === pods[0] ? world_.a : world_.b).listeners.includes(socket.port);
      if (wanted) world.mesh.datapath.captureListener(cookie, socket.port, socket.fd);
      else map.delete(codecs.listeners.encodeKey({ netnsCookie: cookie, port: BigInt(socket.port) }));
    }
    if (world_.canHold) world.mesh.datapath.holdBy(holding.fd);
    else map.delete(codecs.listeners.encodeKey({ netnsCookie: 0n, port: 0n }));
  }

  function destinationOf({ client: who, destination, mapped }: Case): string {
    const [a, b] = pods;
    const isInPod = clients[who]?.place?.netns === a.netns;
    const own = [...a.ips, SECONDARY];
    const addresses = [...own, ...b.ips, ...(isInPod ? [...own, '127.0.0.1', '::1'] : [])];
    const ip = addresses[destination % addresses.length] as string;
    return mapped && !ip.includes(':') ? `::ffff:${ip}` : ip;
  }

  interface Arrival {
    readonly netnsCookie: bigint;
    readonly pod: Pod;
    readonly how: Standing;
    readonly ip: string;
    readonly port: number;
    readonly clientIp: string;
    readonly isOnLoopback: boolean;
    readonly redirected: boolean;
    readonly exempt: boolean;
  }

  const unmapped = (ip: string): string => ip.replace(/^::ffff:/, '');

  /** For a connection that does not leave the namespace, the kernel takes the destination itself as the source. */
  function sourceOf(who: Client, target: string, bound: boolean): string {
    const { node } = world.mesh;
    if (who.place === undefined) return '192.168.66.2';
    if (who.place.netns !== pods[0].netns) return node.ip4;
    return bound ? SECONDARY : pods[1].ips.includes(target) ? pods[0].ip4 : target;
  }

  /** Where the SYN arrives, and what connect() knows about it; undefined if it never leaves. */
  function arrivalOf(world_: Case, maps: DesiredMaps, who: Client, ip: string, bound: boolean): Arrival | undefined {
    const [a, b] = pods;
    const { place } = who;
    const { canHold } = world_;
    const prepared = { isRouted: true, isListenedFor: world_.a.listeners.includes(15001), canHold };
    const decision =
      place === undefined ? undefined : decide(maps, { ...queryOf(place), ...prepared, ip, port: world_.port });
    if (decision?.verdict === 'refuse') return undefined;
    // Only what is not in the local table gets as far as the rule for marked connections.
    const isByRoute = decision?.verdict === 'route' || (decision?.verdict === 'hold' && decision.target === undefined);
    if (isByRoute && b.ips.includes(unmapped(ip))) {
      const own = unmapped(ip).includes(':') ? a.ip6 : a.ip4;
      const source = { clientIp: bound ? SECONDARY : own, isOnLoopback: true, redirected: false, exempt: false };
      return {
        netnsCookie: netnsCookie(a.netns),
        pod: a,
        how: world_.a,
        ip: unmapped(ip),
        port: world_.port,
        ...source,
      };
    }
    const target = decision?.target ?? { ip: unmapped(ip), port: world_.port };
    const clientIp = sourceOf(who, target.ip, bound);
    const isB = b.ips.includes(target.ip);
    const cookie = netnsCookie((isB ? b : a).netns);
    const exempting = decision === undefined ? 0n : exemptingNetns(maps, decision, place, unmapped(ip));
    return {
      netnsCookie: cookie,
      pod: isB ? b : a,
      how: isB ? world_.b : world_.a,
      ...target,
      clientIp,
      isOnLoopback: false,
      redirected: decision?.verdict === 'redirect' || (decision?.verdict === 'hold' && !isByRoute),
      exempt: exempting === cookie && clientIp !== target.ip,
    };
  }

  function queryOf({ cgroup, netns }: NonNullable<Client['place']>) {
    const cgroups: { id: bigint; level: number }[] = [];
    for (let path = cgroup; path !== cgroup2Root(); path = dirname(path))
      cgroups.push({ id: cgroupId(path), level: levelOf(path) });
    return { cgroups, netnsCookie: netnsCookie(netns), mark: 0 };
  }

  /** The rules of bpf/exempt.h in this test's words. */
  function exemptingNetns(maps: DesiredMaps, { reason }: Decision, place: Client['place'], ip: string): bigint {
    if (reason === 'probe') {
      const pod = maps.localPods.get(ip);
      return pod !== undefined && (pod.flags & WorkloadFlag.IN_POD) !== 0 ? pod.netnsCookie : 0n;
    }
    if (reason !== 'ztunnel' || place === undefined) return 0n;
    const cookie = netnsCookie(place.netns);
    return ((maps.netns.get(cookie)?.flags ?? 0) & WorkloadFlag.IN_POD) !== 0 ? cookie : 0n;
  }

  function expectation(pod: Pod, port: number, { verdict, listener }: InboundDecision): string {
    if (verdict === 'refuse') return 'refused';
    if (verdict === 'hold') return 'held';
    if (verdict === 'steer') return `ztunnel of ${pod.name} on ${listener}`;
    if (port === NOBODY) return 'refused';
    return port === APPLICATION ? `default/${pod.name} on ${port}` : `ztunnel of ${pod.name} on ${port}`;
  }

  const asText = (counts: readonly InboundCount[]): Map<string, bigint> =>
    new Map(counts.map(({ verdict, reason, count }) => [`${verdict} ${reason}`, count]));

  it(`agrees with the model in ${CASES} random cases, and counts the row that decided`, async () => {
    const seed = Number(process.env['SLUICE_SEED'] ?? Date.now() % 2 ** 31);
    process.stdout.write(`inbound table: seed ${seed} (SLUICE_SEED=${seed} repeats it)\n`);
    const { datapath } = world.mesh;
    await fc.assert(
      fc.asyncProperty(arbitraryCase, async (world_) => {
        const maps = mapsOf(world_);
        expect(datapath.apply(maps).failures).toEqual([]);
        setListeners(world_);
        const who = clients[world_.client] as Client;
        const ip = destinationOf(world_);
        const to = endpoint(ip, world_.port);
        const isV4 = !unmapped(ip).includes(':') && unmapped(ip) !== '127.0.0.1';
        const bind = world_.fromSecondary && isV4 && who.place?.netns === pods[0].netns;
        const arrival = arrivalOf(world_, maps, who, ip, bind);
        const { canHold } = world_;
        const decision =
          arrival === undefined
            ? undefined
            : decideInbound(maps, { ...arrival, listeners: arrival.how.listeners, canHold });
        const before = asText(datapath.counters().inbound);
        const result = await who.dial(to, {
          ...(bind ? { bind: endpoint(SECONDARY, 0) } : {}),
          ...(decision?.verdict === 'hold' ? { timeout: IMPATIENT } : {}),
        });
        const counted = [...asText(datapath.counters().inbound)].filter(([row, count]) => count !== before.get(row));
        const where = `from ${who.name}${bind ? ` (${SECONDARY})` : ''} to ${to}`;
        if (arrival === undefined || decision === undefined) {
          expect(`${outcome(result)} ${where}`).toBe(`refused ${where}`);
          return;
        }
        const { verdict, reason } = decision;
        expect(`${outcome(result)} ${where} (${reason})`).toBe(
          `${expectation(arrival.pod, arrival.port, decision)} ${where} (${reason})`,
        );
        expect([counted.map(([row]) => row), where]).toEqual([[`${verdict} ${reason}`], where]);
      }),
      { numRuns: CASES, seed, endOnFailure: true },
    );
    // Every row decided at least once.
    expect(new Set(datapath.counters().inbound.map(({ reason }) => reason)).size).toBe(12);
  });
});
