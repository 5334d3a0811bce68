// Which connections are noted as exempt from a pod's inbound capture, and how long the note lasts.
import { fileURLToPath } from 'node:url';
import { BpfMap } from '@sluice/libbpf';
import { Netns, netnsCookie, writeSysctl } from '@sluice/linux';
import {
  LineProcess,
  endpoint,
  enterCommand,
  peerProgram,
  requires,
  type HostProcess,
  type Pod,
} from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addressWords } from '../src/address.js';
import { Datapath, cleanup } from '../src/index.js';
import { maps } from '../src/generated/maps.js';
import { InPodNode } from './in-pod-node.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');
const IDLE_CLIENT = fileURLToPath(new URL('idle-client.mjs', import.meta.url));
const ECHO_PORT = 81;
const CONNECTIONS = 20_000;

describe.skipIf(need.skip)(`exemptions${need.label}`, () => {
  let world: InPodNode;
  let kubelet: HostProcess;
  let pod: Pod;

  beforeAll(async () => {
    world = await InPodNode.create();
    const { node } = world.mesh;
    kubelet = await node.kubelet();
    world.mesh.setKubelet(kubelet);
    world.mesh.settings = { ...world.mesh.settings, sampleEvery: 0 };
    pod = await world.pod({ name: 'a', serve: [80] });
    await pod.serve([ECHO_PORT], { echo: true });
  });
  afterAll(async () => world?.close());

  describe.each([
    ['without SYN cookies', '1'],
    ['with SYN cookies', '2'],
  ])('%s', (_name, syncookies) => {
    beforeAll(() => {
      using netns = Netns.open(pod.netns);
      writeSysctl(netns, 'net.ipv4.tcp_syncookies', syncookies);
    });

    it.each([4, 6] as const)('last until what the client has said is acknowledged: IPv%d', async (family) => {
      const ip = family === 4 ? pod.ip4 : pod.ip6;
      const place = { cgroup: kubelet.cgroup.path, netns: world.mesh.node.netns.path };
      const client = await LineProcess.start(
        enterCommand(place, [process.execPath, IDLE_CLIENT, ip, String(ECHO_PORT)]),
      );
      // The server speaks first.
      expect(await client.nextLine()).toBe('heard');
      expect(world.exemptTuples()).toBe(1);
      client.writeLine('say something');
      expect(await client.nextLine()).toBe('echoed');
      expect(world.exemptTuples()).toBe(0);
      await client.stop();
      expect(world.exemptTuples()).toBe(0);
    });

    it('last until the connection is closed, if the client says nothing', async () => {
      const place = { cgroup: kubelet.cgroup.path, netns: world.mesh.node.netns.path };
      const client = await LineProcess.start(
        enterCommand(place, [process.execPath, IDLE_CLIENT, pod.ip4, String(ECHO_PORT)]),
      );
      expect(await client.nextLine()).toBe('heard');
      expect(world.exemptTuples()).toBe(1);
      await client.stop();
      await expect.poll(() => world.exemptTuples()).toBe(0);
    });

    it(`of ${CONNECTIONS} short connections leave nothing: half are probes, half come through ztunnel`, async () => {
      const count = String(CONNECTIONS / 2);
      const targets = pod.ips.flatMap((ip) => ['--to', endpoint(ip, 80)]);
      const dials = ['dial', ...targets, '--source-ports', '20000-29999', '--count', count];
      const place = { cgroup: kubelet.cgroup.path, netns: world.mesh.node.netns.path };
      const campaigns = [
        await LineProcess.start(enterCommand(place, [peerProgram(), ...dials])),
        await world.mesh.node.remote.exec(dials),
      ];
      const summaries = await Promise.all(
        campaigns.map(async (campaign) => JSON.parse(await campaign.nextLine()) as unknown),
      );
      const all = { count: CONNECTIONS / 2, ok: CONNECTIONS / 2, wrongCount: 0 };
      expect(summaries).toMatchObject([
        { ...all, redirected: 0 },
        { ...all, redirected: CONNECTIONS / 2 },
      ]);
      await expect.poll(() => world.exemptTuples()).toBe(0);
    });
  });

  it('end with the next use of the tuple, if nobody has seen the end of the connection', async () => {
    const routed = await world.mesh.node.pod({ name: 'routed' });
    world.enrol(routed, 0, 'route');
    await world.serve(routed);
    const { remote } = world.mesh.node;
    const cookie = netnsCookie(routed.netns);
    using exempt = BpfMap.openPinned(`${world.mesh.pinDirectory}/maps/exempt_tuples`);
    for (const [own, to] of [
      [routed.ip4, remote.ip4],
      [routed.ip6, remote.ip6],
    ] as const) {
      const tuple = { localIp: addressWords(own), remoteIp: addressWords(to), localPort: 40_000, remotePort: 80 };
      exempt.typed(maps.exempt_tuples).set({ netns: [Number(cookie), 0], tuple }, 1n);
      const { hops } = await routed.dial(endpoint(to, 80), { bind: endpoint(own, 40_000) });
      expect(hops.map(({ by }) => by)).toEqual(['ztunnel', 'remote']);
    }
    await expect.poll(() => world.exemptTuples()).toBe(0);
  });

  it('are written for no connection of a pod', async () => {
    const { mesh } = world;
    mesh.datapath.close();
    cleanup(mesh.pinDirectory);
    mesh.datapath = Datapath.open({
      pinDirectory: mesh.pinDirectory,
      cgroup: mesh.node.cgroup.path,
      capacities: { exemptConnections: 1 },
    });
    mesh.apply();
    mesh.datapath.activate();
    // The map is full, so that every attempt to write is counted.
    const full = (): bigint => mesh.datapath.counters().events['exempt-full'];
    using exempt = BpfMap.openPinned(`${mesh.pinDirectory}/maps/exempt_tuples`);
    const words = [0, 0, 0, 0] as const;
    const tuple = { localIp: words, remoteIp: words, localPort: 1, remotePort: 1 };
    exempt.typed(maps.exempt_tuples).set({ netns: [1, 0], tuple }, 1n);
    // ztunnel does not listen for this pod: what ztunnel dials would be exempt.
    const unserved = await mesh.node.pod({ name: 'unserved', serve: [80] });
    world.enrol(unserved);
    for (const ip of [...unserved.ips, '127.0.0.1', '::1', pod.ip4, mesh.node.remote.ip4, mesh.node.remote.ip6])
      await unserved.dial(endpoint(ip, 80));
    await unserved.dial(endpoint(unserved.ip4, 80), { bind: endpoint('127.0.0.1', 0) });
    expect(full()).toBe(0n);
    await kubelet.dial(endpoint(pod.ip4, 80));
    expect(full()).toBe(1n);
  });
});
