// Connections that cannot reach ztunnel: they wait, and go on when it listens; or they go directly when the pod turns out not to be
// in the mesh; or they are refused, as the pod's policy says. Nothing that waits reaches anybody else.
import { Netns, getSockOpt, listeningSockets, netnsCookie, silentListener, type OwnedFd } from '@sluice/linux';
import {
  Cgroup,
  HostProcess,
  LineProcess,
  endpoint,
  enterCommand,
  peerProgram,
  requires,
  type DialOptions,
  type DialResult,
  type Pod,
} from '@sluice/testbed';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Datapath, InstalledDatapath, WorkloadFlag } from '../src/index.js';
import { CaptureMark } from '../src/generated/maps.js';
import { InPodNode, type Capture } from './in-pod-node.js';
import { FAMILIES, segmentsReceived, type Family } from './route-cases.js';
import { undoRouting } from './routed-netns.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');
const { PENDING, REFUSE_WAITING, OPEN_WAITING } = WorkloadFlag;
const CAPTURES: readonly Capture[] = ['route', 'rewrite'];
const APPLICATION = 8080;
const HBONE = 15_008;
/** What a connection that is given up by its client ends with. In milliseconds. */
const IMPATIENT = { timeout: 300 } as const;
// asm-generic/socket.h
const SOL_SOCKET = 1;
const SO_COOKIE = 57;

const acceptors = ({ hops, error }: DialResult): (string | undefined)[] =>
  error === '' ? hops.map(({ by, error: why }) => by ?? why) : [error];

describe.skipIf(need.skip)(`connections that wait for ztunnel${need.label}`, () => {
  let node: InPodNode;
  let remote: InPodNode['mesh']['node']['remote'];
  let plain: Pod;
  let kubelet: HostProcess;
  let holding: OwnedFd | undefined;
  let pods = 0;
  const callers: HostProcess[] = [];

  beforeAll(async () => {
    node = await InPodNode.create();
    ({ remote } = node.mesh.node);
    plain = await node.mesh.node.pod({ name: 'plain', serve: [APPLICATION] });
    kubelet = await node.mesh.node.kubelet();
    node.mesh.setKubelet(kubelet);
    hold();
  });
  afterAll(async () => {
    holding?.close();
    await node?.close();
  });
  afterEach(async () => {
    for (const caller of callers.splice(0)) await caller.close();
    hold();
  });

  /** As an agent that starts: its socket takes the place of another one's, which goes then. */
  function hold(): void {
    const next = silentListener();
    node.mesh.datapath.holdBy(next.fd);
    holding?.close();
    holding = next;
  }

  /** A pod without a ztunnel that listens for it. */
  async function unserved(capture: Capture, flags = 0, serve: readonly number[] = []): Promise<Pod> {
    const pod = await node.mesh.node.pod({ name: `p${pods++}`, serve });
    node.enrol(pod, flags, capture);
    return pod;
  }

  const outside = (family: Family): string => endpoint(remote[family], 80);

  /** A connection that is made meanwhile, by a process of its own. */
  async function dialling(
    pod: Pod,
    to: string,
    options?: DialOptions,
  ): Promise<{ readonly done: Promise<DialResult> }> {
    const caller = await HostProcess.start(peerProgram(), new Cgroup(pod.app.place.cgroup), pod.netns);
    callers.push(caller);
    return { done: caller.dial(to, options) };
  }

  /** How many connections, or SYNs, were held. */
  function count(direction: 'decisions' | 'inbound', reason?: string): bigint {
    const { [direction]: rows } = node.mesh.datapath.counters();
    return rows
      .filter((row) => row.verdict === 'hold' && (reason === undefined || row.reason === reason))
      .reduce((sum, row) => sum + row.count, 0n);
  }

  /** Starts dials, and waits until the SYN of each has been held more than once. */
  async function held<T>(dials: number, start: () => Promise<T>): Promise<T> {
    const before = count('inbound');
    const started = await start();
    await expect.poll(() => count('inbound') - before).toBeGreaterThanOrEqual(BigInt(3 * dials));
    return started;
  }

  const HOW: Readonly<Record<string, (pod: Pod, family: Family) => DialOptions>> = {
    plain: () => ({}),
    nonblock: () => ({ method: 'nonblock' }),
    iouring: () => ({ method: 'iouring' }),
    'bound to an address': (pod, family) => ({ bind: endpoint(pod[family], 0) }),
    'with a mark': () => ({ mark: 0x77 }),
  };
  const CASES = FAMILIES.flatMap((family) => Object.entries(HOW).map(([name, options]) => ({ family, name, options })));

  describe.each(CAPTURES)('out of a pod, by %s', (capture) => {
    it.each([
      ['pending', PENDING],
      ['in the mesh', 0],
    ])('of one that is %s: none is refused, and ztunnel sees what was dialled, and by whom', async (state, flags) => {
      const pod = await unserved(capture, flags);
      const decided = count('decisions', state === 'pending' ? 'pending' : 'no-ztunnel');
      const dials = await held(CASES.length, () =>
        Promise.all(CASES.map(({ family, options }) => dialling(pod, outside(family), options(pod, family)))),
      );
      expect(count('decisions', state === 'pending' ? 'pending' : 'no-ztunnel') - decided).toBe(BigInt(CASES.length));
      const [first] = await Promise.all([Promise.race(dials.map(({ done }) => done)), node.serve(pod)]);
      expect(first.error).toBe('');
      for (const [n, { done }] of dials.entries()) {
        const { family, name } = CASES[n] as (typeof CASES)[number];
        const result = await done;
        const { hops, sockname, peername, mark } = result;
        expect([name, acceptors(result)]).toEqual([name, ['ztunnel', 'remote']]);
        expect(hops[0]).toMatchObject({ port: 15_001, originalDst: outside(family), peer: sockname });
        expect(peername).toBe(outside(family));
        expect(mark & ~CaptureMark.ROUTE_MARK).toBe(name === 'with a mark' ? 0x77 : 0);
      }
      // And what is dialled now does not wait.
      node.enrol(pod, 0, capture);
      const waited = count('decisions');
      for (const family of FAMILIES) expect(acceptors(await pod.dial(outside(family)))).toEqual(['ztunnel', 'remote']);
      expect(count('decisions')).toBe(waited);
    });

    it('sends a SYN again soon, and not for ever', async () => {
      const pod = await unserved(capture);
      await held(1, () => dialling(pod, outside('ip4'), { timeout: 60_000 }));
      const sockets = await LineProcess.start(enterCommand({ netns: pod.netns }, ['ss', '-Htin', 'state', 'syn-sent']));
      await sockets.exited;
      const [, rto] = /\brto:(\d+)/.exec(sockets.history.join(' ')) ?? [];
      const [, backoff = '0'] = /\bbackoff:(\d+)/.exec(sockets.history.join(' ')) ?? [];
      // The kernel's own would have been a second.
      expect(Number(rto) / 2 ** Number(backoff)).toBeLessThan(200);
      const options = { pinDirectory: node.mesh.pinDirectory, cgroup: node.mesh.node.cgroup.path };
      const { datapath } = node.mesh;
      using impatient = Datapath.open({ ...options, longestHoldMs: 1 });
      impatient.apply(node.mesh.desired);
      impatient.activate();
      try {
        // The kernel gives it up; the client would have waited for much longer.
        expect(await pod.dial(outside('ip4'))).toMatchObject({ error: 'ETIMEDOUT', hops: [] });
      } finally {
        datapath.activate();
      }
    });

    it('ends at once when the pod is not to wait any more, and is refused from then on', async () => {
      const pod = await unserved(capture);
      // Over IPv4 by route, nobody answers in the name of the destination.
      const families = capture === 'route' ? (['ip6'] as const) : FAMILIES;
      const dials = await held(families.length, () =>
        Promise.all(families.map((family) => dialling(pod, outside(family)))),
      );
      node.enrol(pod, REFUSE_WAITING, capture);
      for (const { done } of dials) expect(acceptors(await done)).toEqual(['ECONNREFUSED']);
      for (const family of FAMILIES) expect(acceptors(await pod.dial(outside(family)))).toEqual(['ECONNREFUSED']);
    });

    it.each([PENDING, 0])('goes directly if the pod may (flags %i)', async (flags) => {
      const pod = await unserved(capture, flags | OPEN_WAITING);
      for (const family of FAMILIES) expect(acceptors(await pod.dial(outside(family)))).toEqual(['remote']);
    });

    it('is refused when the agent has gone, and never goes directly', async () => {
      const pod = await unserved(capture);
      const before = await segmentsReceived(remote.netns);
      const families = capture === 'route' ? (['ip6'] as const) : FAMILIES;
      const dials = await held(families.length, () =>
        Promise.all(families.map((family) => dialling(pod, outside(family)))),
      );
      holding?.close();
      holding = undefined;
      for (const { done } of dials) expect(acceptors(await done)).toEqual(['ECONNREFUSED']);
      for (const family of FAMILIES) expect(acceptors(await pod.dial(outside(family)))).toEqual(['ECONNREFUSED']);
      expect(await segmentsReceived(remote.netns)).toBe(before);
    });

    it('goes on waiting when the next agent has put its own socket in', async () => {
      const pod = await unserved(capture);
      const dials = await held(2, () => Promise.all(FAMILIES.map((family) => dialling(pod, outside(family)))));
      const former = node.mesh.datapath.holder();
      hold();
      const cookie = getSockOpt(holding?.fd ?? -1, SOL_SOCKET, SO_COOKIE, 8).readBigUInt64LE();
      expect([node.mesh.datapath.holder(), former === cookie]).toEqual([cookie, false]);
      using installed = InstalledDatapath.open(node.mesh.pinDirectory);
      expect(installed.canHold()).toBe(true);
      await held(2, () => Promise.resolve());
      await node.serve(pod);
      for (const { done } of dials) expect(acceptors(await done)).toEqual(['ztunnel', 'remote']);
    });
  });

  it('by route, it goes directly when the pod turns out not to be in the mesh', async () => {
    const pod = await unserved('route', PENDING);
    const dials = await held(CASES.length, () =>
      Promise.all(CASES.map(({ family, options }) => dialling(pod, outside(family), options(pod, family)))),
    );
    using netns = Netns.open(pod.netns);
    // In this order: as long as a rule leads a SYN to the loopback, the entries keep it from being refused there.
    undoRouting(netns);
    node.mesh.datapath.setRouted(netns.cookie, new Map());
    for (const { done } of dials) expect(acceptors(await done)).toEqual(['remote']);
    node.mesh.leave(pod);
    node.mesh.apply();
    expect(node.mesh.datapath.detachNetns(netns.cookie)).toBe(true);
    expect(acceptors(await pod.dial(outside('ip4')))).toEqual(['remote']);
  });

  it('with a namespace that is not prepared, it is refused', async () => {
    const pod = await unserved('route', PENDING);
    node.mesh.datapath.setRouted(netnsCookie(pod.netns), new Map());
    for (const family of FAMILIES) expect(acceptors(await pod.dial(outside(family)))).toEqual(['ECONNREFUSED']);
  });

  describe('into a pod', () => {
    it.each([
      ['pending', PENDING],
      ['in the mesh', 0],
    ])('of one that is %s: they reach ztunnel, and probes do not wait', async (_state, flags) => {
      const pod = await unserved('route', flags, [APPLICATION]);
      const client = await remote.client();
      const targets = FAMILIES.flatMap((family) => [APPLICATION, HBONE].map((port) => endpoint(pod[family], port)));
      const dials = await held(1, async () => {
        const clients = await Promise.all(targets.map(() => remote.client()));
        return clients.map((one, n) => one.dial(targets[n] as string));
      });
      await expect.poll(() => count('inbound', 'hbone')).toBeGreaterThan(0n);
      for (const family of FAMILIES)
        expect(acceptors(await kubelet.dial(endpoint(pod[family], APPLICATION)))).toEqual([`default/${pod.name}`]);
      await node.serve(pod);
      // A pending pod is released when ztunnel has acknowledged it.
      node.enrol(pod, 0, 'route');
      for (const [n, done] of dials.entries()) {
        const to = targets[n] as string;
        const { hops, sockname } = await done;
        const port = to.endsWith(String(HBONE)) ? HBONE : 15_006;
        expect([to, hops[0]]).toEqual([to, expect.objectContaining({ by: 'ztunnel', port, peer: sockname })]);
        if (port !== HBONE) expect(hops).toMatchObject([{ originalDst: to }, { by: `default/${pod.name}` }]);
      }
      await client.close();
    });

    it('are refused, or reach the application, as the pod’s policy says', async () => {
      for (const flags of [PENDING, 0]) {
        const pod = await unserved('route', flags | REFUSE_WAITING, [APPLICATION]);
        for (const family of FAMILIES)
          for (const port of [APPLICATION, HBONE])
            expect(acceptors(await remote.dial(endpoint(pod[family], port)))).toEqual(['ECONNREFUSED']);
        node.enrol(pod, flags | OPEN_WAITING, 'route');
        for (const family of FAMILIES)
          expect(acceptors(await remote.dial(endpoint(pod[family], APPLICATION)))).toEqual([`default/${pod.name}`]);
        for (const port of [15_001, 15_006])
          expect(acceptors(await remote.dial(endpoint(pod.ip4, port)))).toEqual(['ECONNREFUSED']);
      }
    });

    it('are refused when the agent has gone', async () => {
      const pod = await unserved('route', PENDING, [APPLICATION]);
      holding?.close();
      holding = undefined;
      for (const family of FAMILIES)
        for (const port of [APPLICATION, HBONE])
          expect(acceptors(await remote.dial(endpoint(pod[family], port)))).toEqual(['ECONNREFUSED']);
    });
  });

  it('leaves established connections alone, in both directions', async () => {
    const pod = await node.mesh.node.pod({ name: `p${pods++}` });
    const own = await pod.serve([9000], { echo: true });
    const echo = await remote.serve([9000], { echo: true });
    const streams = [
      ...(await Promise.all(FAMILIES.map((family) => pod.stream(endpoint(remote[family], 9000))))),
      ...(await Promise.all(FAMILIES.map((family) => remote.stream(endpoint(pod[family], 9000))))),
    ];
    for (const flags of [PENDING, 0, REFUSE_WAITING]) {
      node.enrol(pod, flags, 'route');
      for (const stream of streams) await stream.progress(2);
    }
    for (const stream of streams) expect(await stream.stop()).toMatchObject({ broken: '' });
    for (const server of [own, echo]) await server.stop();
  });

  describe('the socket that holds', () => {
    it('is reached by nobody else, and joined by nobody', async () => {
      const pod = await unserved('route');
      const port = holdingPort();
      for (const family of FAMILIES)
        for (const [from, ip] of [
          [pod, '127.0.0.1'],
          [pod, '::1'],
          [plain, node.mesh.node.ip4],
          [remote, node.mesh.node.ip4],
          [remote, plain[family]],
        ] as const)
          expect(acceptors(await from.dial(endpoint(ip, port)))).toEqual(['ECONNREFUSED']);
      // The application listens on the same port, with all that a group needs, and as the same user.
      const application = await pod.serve([port], { reuseAddress: true });
      const dials = await held(2, () => Promise.all(FAMILIES.map((family) => dialling(pod, outside(family)))));
      await node.serve(pod);
      for (const { done } of dials) expect(acceptors(await done)).toEqual(['ztunnel', 'remote']);
      await application.stop();
    });

    it('leads a pod with NET_ADMIN to nobody, whatever it does with rules, routes and marks', async () => {
      const admin = await unserved('rewrite');
      const before = await segmentsReceived(remote.netns);
      const inside = async (...argv: string[]): Promise<void> => {
        await (
          await LineProcess.start(enterCommand({ netns: admin.netns }, ['ip', ...argv]))
        ).exited;
      };
      // All that goes out comes back on its loopback, with and without our mark.
      for (const family of ['-4', '-6']) {
        await inside(family, 'rule', 'add', 'pref', '5', 'lookup', '77');
        await inside(family, 'route', 'add', 'local', 'default', 'dev', 'lo', 'table', '77');
      }
      const targets = FAMILIES.flatMap((family) => [
        endpoint(remote[family], 80),
        endpoint(plain[family], APPLICATION),
        endpoint(admin[family], 15_001),
      ]);
      for (const to of targets)
        for (const mark of [0, CaptureMark.ROUTE_MARK, 0x539, 0x111]) {
          const { hops, error } = await admin.dial(to, { mark, ...IMPATIENT });
          expect([to, mark, hops]).toEqual([to, mark, []]);
          expect(['ETIMEDOUT', 'ECONNREFUSED']).toContain(error);
        }
      expect(await segmentsReceived(remote.netns)).toBe(before);
    });
  });

  /** The port of the holding socket, which only this process can ask. */
  function holdingPort(): number {
    const cookie = node.mesh.datapath.holder();
    const mine = listeningSockets(process.pid);
    const [found] = mine.filter(({ socketCookie }) => socketCookie === cookie).map(({ port }) => port);
    for (const socket of mine) socket.close();
    if (found === undefined) throw new Error('this process has no socket that holds');
    return found;
  }
});
