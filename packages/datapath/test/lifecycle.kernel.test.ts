// Loading, closing, coming back, upgrading and leaving; and the errors that a user can meet.
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { BpfError, attachCgroupExclusively, openObject, queryCgroup } from '@sluice/libbpf';
import { Cgroup, cgroup2Root, endpoint, requires, type Pod } from '@sluice/testbed';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Datapath, InstalledDatapath, type DatapathError, WorkloadFlag, cleanup } from '../src/index.js';
import { everythingAt } from '../src/attach-plan.js';
import { PINNED_MAPS } from '../src/layout.js';
import { MeshedNode } from './meshed-node.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');
const PROGRAMS = [...everythingAt({ path: '/', id: 0n }).keys()];
const OBJECT = fileURLToPath(new URL('../dist/sluice.bpf.o', import.meta.url));

describe.skipIf(need.skip)(`the datapath's life${need.label}`, () => {
  let mesh: MeshedNode;
  let pod: Pod;
  let to: string;
  const acceptors = async (): Promise<(string | undefined)[]> => (await pod.dial(to)).hops.map(({ by }) => by);

  beforeEach(async () => {
    mesh = await MeshedNode.create();
    mesh.setZtunnel(await mesh.node.ztunnel());
    pod = await mesh.node.pod({ name: 'a', serve: [80] });
    mesh.enrol(pod);
    mesh.apply();
    to = endpoint(mesh.node.remote.ip4, 80);
  });
  afterEach(async () => mesh?.close());

  it('goes on when the agent is gone, and is adopted by the next with no gap', async () => {
    const running = await pod.load([to]);
    mesh.datapath.close();
    expect(await acceptors()).toEqual(['ztunnel', 'remote']);
    const before = InstalledDatapath.open(mesh.pinDirectory);
    const entries = before.read();
    before.close();
    for (let round = 0; round < 10; round++) {
      mesh.datapath = Datapath.open({ pinDirectory: mesh.pinDirectory, cgroup: mesh.node.cgroup.path });
      expect(mesh.datapath.adopted).toHaveLength(PINNED_MAPS.length);
      expect(mesh.datapath.apply(mesh.desired)).toMatchObject({ written: 0, removed: 0, failures: [] });
      const { attached, updated } = mesh.datapath.activate();
      expect([attached, updated.length]).toEqual([[], PROGRAMS.length]);
      mesh.datapath.close();
    }
    using after = InstalledDatapath.open(mesh.pinDirectory);
    expect(after.read()).toEqual(entries);
    await running.progress(1);
    const result = await running.stop();
    expect(result).toMatchObject({ refused: 0, direct: 0, errors: 0, redirected: result.attempts });
  });

  it('replaces a map whose capacity changed, filled before any program uses it', async () => {
    const running = await pod.load([to]);
    mesh.datapath.close();
    mesh.datapath = Datapath.open({
      pinDirectory: mesh.pinDirectory,
      cgroup: mesh.node.cgroup.path,
      capacities: { cgroups: 64, localPods: 32 },
    });
    expect(mesh.datapath.adopted).not.toContain('cgroup_info_map');
    expect(mesh.datapath.adopted).toContain('socket_origin');
    mesh.apply();
    mesh.datapath.activate();
    expect(await acceptors()).toEqual(['ztunnel', 'remote']);
    // The maps that are pinned now are those that the programs use.
    mesh.leave(pod);
    await running.progress(1);
    const result = await running.stop();
    mesh.apply();
    expect(await acceptors()).toEqual(['remote']);
    expect(result).toMatchObject({ refused: 0, direct: 0, errors: 0, redirected: result.attempts });
  });

  it('an upgrade leaves no map and no program of a version that had others', async () => {
    mesh.datapath.close();
    {
      using former = openObject(OBJECT);
      former.load();
      former.map('settings').pin(`${mesh.pinDirectory}/maps/pending_origin`);
      using link = former.program('sluice_bind4').attachCgroup(mesh.node.cgroup.path);
      link.pin(`${mesh.pinDirectory}/links/sluice_former`);
    }
    expect(queryCgroup(mesh.node.cgroup.path, 'cgroup_inet4_bind').programs).toHaveLength(2);
    mesh.datapath = Datapath.open({ pinDirectory: mesh.pinDirectory, cgroup: mesh.node.cgroup.path });
    mesh.apply();
    mesh.datapath.activate();
    expect(readdirSync(`${mesh.pinDirectory}/maps`).toSorted()).toEqual(PINNED_MAPS.toSorted());
    const pins = PROGRAMS.map((program) => `${program}-${mesh.node.cgroup.id}`);
    expect(readdirSync(`${mesh.pinDirectory}/links`).toSorted()).toEqual(pins.toSorted());
    expect(queryCgroup(mesh.node.cgroup.path, 'cgroup_inet4_bind').programs).toHaveLength(1);
    expect(await acceptors()).toEqual(['ztunnel', 'remote']);
  });

  it('moves to another attach point', async () => {
    mesh.datapath.close();
    const elsewhere = new Cgroup(`${mesh.node.cgroup.path}/elsewhere`);
    mesh.datapath = Datapath.open({ pinDirectory: mesh.pinDirectory, cgroup: elsewhere.path });
    mesh.apply();
    expect(mesh.datapath.activate().attached).toHaveLength(PROGRAMS.length);
    expect(queryCgroup(mesh.node.cgroup.path, 'cgroup_inet4_connect').programs).toEqual([]);
    expect(queryCgroup(elsewhere.path, 'cgroup_inet4_connect').programs).toMatchObject([{ name: 'sluice_connect4' }]);
    expect(await acceptors()).toEqual(['remote']);
  });

  it('a pod that leaves the mesh leaves no entry and connects directly', async () => {
    mesh.leave(pod);
    mesh.apply();
    using installed = InstalledDatapath.open(mesh.pinDirectory);
    const { cgroups, netns, localPods } = installed.read();
    expect([...cgroups.values()].filter(({ flags }) => flags & WorkloadFlag.AMBIENT)).toEqual([]);
    expect([netns.size, localPods.size]).toEqual([0, 0]);
    expect(await acceptors()).toEqual(['remote']);
  });

  it('cleans up everything, pinned or attached, twice', async () => {
    expect(cleanup(mesh.pinDirectory).detached).toHaveLength(PROGRAMS.length);
    expect(existsSync(mesh.pinDirectory)).toBe(false);
    for (const type of ['cgroup_inet4_connect', 'cgroup_sock_ops', 'cgroup_getsockopt', 'cgroup_inet6_getpeername']) {
      expect(queryCgroup(mesh.node.cgroup.path, type).programs).toEqual([]);
    }
    expect(await acceptors()).toEqual(['remote']);
    expect(cleanup(mesh.pinDirectory, mesh.node.cgroup.path)).toEqual({ detached: [], unpinned: [] });
  });

  it('cleans up what is attached without a pin', async () => {
    using object = openObject(OBJECT);
    object.load();
    cleanup(mesh.pinDirectory);
    using link = object.program('sluice_connect4').attachCgroup(mesh.node.cgroup.path);
    expect(link.info().cgroupId).toBe(mesh.node.cgroup.id);
    expect(cleanup(mesh.pinDirectory, mesh.node.cgroup.path).detached).toEqual(['sluice_connect4']);
    expect(queryCgroup(mesh.node.cgroup.path, 'cgroup_inet4_connect').programs).toEqual([]);
  });

  it('says which map is full, and writes the rest', async () => {
    mesh.datapath.close();
    mesh.datapath = Datapath.open({
      pinDirectory: mesh.pinDirectory,
      cgroup: mesh.node.cgroup.path,
      capacities: { localPods: 1 },
    });
    const { failures } = mesh.datapath.apply(mesh.desired);
    expect(failures.map(({ map, error }) => [map, error.code])).toEqual([['local_pods', 'E2BIG']]);
    expect(failures[0]?.error.message).toMatch(/map 'local_pods': it is full: it holds at most 1 entries/);
    mesh.datapath.activate();
    expect(await acceptors()).toEqual(['ztunnel', 'remote']);
    // With room again there is nothing to report.
    mesh.leave(pod);
    expect(mesh.datapath.apply(mesh.desired).failures).toEqual([]);
  });

  it('says where to mount a BPF file system when there is none', () => {
    const pinDirectory = `${mesh.node.directory}/no-bpffs/sluice`;
    expect(() => Datapath.open({ pinDirectory, cgroup: mesh.node.cgroup.path })).toThrow(
      /no-bpffs\/sluice is not on a BPF file system, .* Mount one: mount -t bpf bpf \/sys\/fs\/bpf/,
    );
  });

  it('says so when the attach point is not a cgroup', () => {
    expect(() => Datapath.open({ pinDirectory: mesh.pinDirectory, cgroup: mesh.node.directory })).toThrow(
      /is not a cgroup2 directory, .* Name the cgroup2 mount/,
    );
    expect(() => Datapath.open({ pinDirectory: mesh.pinDirectory, cgroup: '/nowhere' })).toThrow(
      /\/nowhere is not a cgroup2 directory/,
    );
  });

  it('says whose program stands in the way', () => {
    const occupied = new Cgroup(`${cgroup2Root()}/${mesh.node.id}-outside/occupied`);
    const inner = occupied.child('inner');
    using foreign = openObject(OBJECT);
    foreign.load();
    attachCgroupExclusively(foreign.program('sluice_sockops'), occupied.path);
    const pinDirectory = `${mesh.pinDirectory}-other`;
    using datapath = Datapath.open({ pinDirectory, cgroup: inner.path });
    datapath.apply(mesh.desired);
    const { failures } = datapath.activate();
    expect(failures.map(({ program, error }) => [program, error.kind])).toEqual([
      ['sluice_sockops', 'attach'],
      ['sluice_hold', 'attach'],
      ['sluice_listen', 'attach'],
    ]);
    expect(failures[0]?.error.message).toMatch(
      new RegExp(`sluice_sockops could not be attached to ${inner.path}: .*${occupied.path}`, 's'),
    );
    cleanup(pinDirectory, inner.path);
  });

  it('says that nothing is installed where nothing is', () => {
    mkdirSync(`${mesh.pinDirectory}-empty`);
    expect(() => InstalledDatapath.open(`${mesh.pinDirectory}-empty`)).toThrow(
      /no datapath is pinned at .*Start the agent: sluice run/,
    );
  });

  it('says what the verifier or the loader said', () => {
    const attempt = (): unknown =>
      Datapath.open({
        pinDirectory: `${mesh.pinDirectory}-x`,
        cgroup: mesh.node.cgroup.path,
        objectPath: '/nowhere.o',
      });
    expect(attempt).toThrow(/the BPF programs could not be loaded: .*\/nowhere\.o/);
    try {
      attempt();
    } catch (error) {
      expect((error as DatapathError).kind).toBe('load');
      expect((error as DatapathError).cause).toBeInstanceOf(BpfError);
    }
  });
});
