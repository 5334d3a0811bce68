// What a connection meets while thousands of entries change: at no moment something that is neither the old state nor the new.
import { setImmediate } from 'node:timers/promises';
import { BpfMap } from '@sluice/libbpf';
import { endpoint, requires, type LoadSummary, type Pod, type StandInZtunnel } from '@sluice/testbed';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ZTUNNEL_OUTBOUND_PORT, WorkloadFlag, type CgroupInfo, type DesiredMaps } from '../src/index.js';
import { addressWords } from '../src/address.js';
import { encodeMaps } from '../src/entries.js';
import { OriginRole, maps } from '../src/generated/maps.js';
import { MeshedNode, cgroupId, levelOf } from './meshed-node.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');
const ROUNDS = 10;
/** Enough for one apply() to last as long as many connections. */
const OTHERS = 2000;

/** Workloads that do not exist; those of two rounds have nothing in common. */
function others(round: number): Pick<DesiredMaps, 'cgroups' | 'localPods'> {
  const cgroups = new Map<bigint, CgroupInfo>();
  const localPods = new Map<string, { netnsCookie: bigint; flags: number }>();
  for (let n = 0; n < OTHERS; n++) {
    const ip = `10.${200 + (round % 2)}.${n >> 8}.${n & 255}`;
    const id = BigInt(1_000_000_000 + (round % 2) * OTHERS + n);
    cgroups.set(id, { id, inMesh: true, ip, flags: WorkloadFlag.AMBIENT, detectedFlags: WorkloadFlag.AMBIENT });
    if (n % 2 === 0) localPods.set(ip, { netnsCookie: id, flags: WorkloadFlag.AMBIENT });
  }
  return { cgroups, localPods };
}

describe.skipIf(need.skip)(`connections while the maps change${need.label}`, () => {
  let mesh: MeshedNode;
  let ztunnel: StandInZtunnel;
  let pod: Pod;

  beforeEach(async () => {
    mesh = await MeshedNode.create();
    ztunnel = await mesh.node.ztunnel({ mode: 'answer' });
    mesh.setZtunnel(ztunnel);
    pod = await mesh.node.pod({ name: 'a', serve: [80] });
    mesh.enrol(pod);
    mesh.settings = { ...mesh.settings, sampleEvery: 0 };
    mesh.apply();
  });
  afterEach(async () => mesh?.close());

  /** Applies one state after another while a pod dials; each state lasts until a connection has begun and ended in it. */
  async function during(
    caller: Pod,
    to: readonly string[],
    state: (round: number) => DesiredMaps,
  ): Promise<LoadSummary> {
    const load = await caller.load(to);
    for (let round = 0; round < ROUNDS; round++) {
      expect(mesh.datapath.apply(state(round)).failures).toEqual([]);
      await load.progress(1);
    }
    return load.stop();
  }

  it('a pod whose entry moves to another of its cgroups stays in the mesh', async () => {
    const { desired } = mesh;
    const [id, container] = [cgroupId(pod.cgroup.path), pod.app.cgroupId];
    const info = desired.cgroups.get(id) as CgroupInfo;
    const settings = {
      ...desired.settings,
      cgroupLevels: [...desired.settings.cgroupLevels, levelOf(pod.app.place.cgroup)],
    };
    const summary = await during(pod, [endpoint(mesh.node.remote.ip4, 80)], (round) => {
      const { cgroups, localPods } = others(round);
      return {
        ...desired,
        settings,
        netns: new Map(),
        cgroups: new Map([...desired.cgroups, ...cgroups].filter(([key]) => key !== id)).set(
          round % 2 === 0 ? container : id,
          info,
        ),
        localPods: new Map([...desired.localPods, ...localPods]),
      };
    });
    expect(summary).toMatchObject({ direct: 0, refused: 0, errors: 0, redirected: summary.attempts });
  });

  it('a ztunnel that comes and goes is never sent to itself', async () => {
    const { desired } = mesh;
    const summary = await during(ztunnel.pod, [endpoint(pod.ip4, 80)], (round) => {
      const { cgroups, localPods } = others(round);
      const known = round % 2 === 0;
      return {
        ...desired,
        cgroups: new Map(
          [...desired.cgroups, ...cgroups].filter(([, { flags }]) => known || !(flags & WorkloadFlag.ZTUNNEL)),
        ),
        localPods: new Map([...desired.localPods, ...localPods]),
        settings: known ? desired.settings : { ...desired.settings, ztunnelIPv4: undefined, ztunnelIPv6: undefined },
      };
    });
    // Its dials are refused while no ztunnel is known: it is a caller like any other then.
    expect(summary).toMatchObject({ redirected: 0, errors: 0 });
    expect(summary.direct).toBeGreaterThan(0);
    expect(summary.refused).toBeGreaterThan(0);
  });

  it('a caller is never taken for another caller whose entry takes the memory of its own', async () => {
    // An update of an entry frees its memory, and the next update, here of ztunnel's entry, takes it.
    const { desired } = mesh;
    // Nothing listens on 15001 there: a redirected connection is refused at once, so that many are made.
    mesh.datapath.apply({ ...desired, settings: { ...desired.settings, ztunnelIPv4: '10.66.1.3' } });
    const { cgroup_info_map: entries } = encodeMaps(desired);
    const updates = Array.from({ length: 5000 }, () => [...entries.values()]).flat();
    const keys = Buffer.concat(updates.map(({ key }) => key));
    const values = Buffer.concat(updates.map(({ value }) => value));
    using map = BpfMap.openPinned(`${mesh.pinDirectory}/maps/cgroup_info_map`);
    const load = await pod.load([endpoint(mesh.node.remote.ip4, 80)]);
    for (let batch = 0; batch < 800; batch++) map.updateBatch(keys, values, updates.length);
    await load.progress(1);
    const summary = await load.stop();
    expect(summary).toMatchObject({ direct: 0, redirected: 0, errors: 0, refused: summary.attempts });
  });

  it('an accepted connection is never given the origin of another, whose entry takes the memory of its own', async () => {
    const { ip4 } = mesh.node.remote;
    const [port, otherPort] = [80, 81];
    const sourcePort = 40_000;
    // The entry that the pod's own dials write, and one of a connection that does not exist. With a single look, some
    // one in ten thousand connections was wrong.
    const entry = (localPort: number, destinationPort: number): readonly [Buffer, Buffer] => [
      maps.origin_handoff.encodeKey({
        localIp: addressWords(pod.ip4),
        remoteIp: addressWords(ztunnel.pod.ip4),
        localPort,
        remotePort: ZTUNNEL_OUTBOUND_PORT,
      }),
      maps.origin_handoff.encodeValue({
        socketCookie: 0n,
        // The port is in network order.
        origin: { ip: addressWords(ip4), port: destinationPort << 8, role: OriginRole.DIALLED },
      }),
    ];
    const updates = Array.from({ length: 5000 }, () => [entry(sourcePort, port), entry(sourcePort + 1, otherPort)]);
    const keys = Buffer.concat(updates.flat().map(([key]) => key));
    const values = Buffer.concat(updates.flat().map(([, value]) => value));
    using map = BpfMap.openPinned(`${mesh.pinDirectory}/maps/origin_handoff`);
    const dials = pod.dialSourcePorts({
      targets: [endpoint(ip4, port)],
      ports: [sourcePort, sourcePort],
      count: 20_000,
    });
    const areOver = dials.then(() => true);
    while (!(await Promise.race([areOver, setImmediate(false)]))) map.updateBatch(keys, values);
    const { ok, wrong } = await dials;
    expect(wrong.filter(({ claimed }) => claimed === endpoint(ip4, otherPort))).toEqual([]);
    expect(ok).toBeGreaterThan(0);
  });
});
