// A start after a crash, and a start on a pin directory with things in it that do not belong there.
import { existsSync, mkdirSync, readdirSync, renameSync, symlinkSync, unlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { attachCgroupExclusively, BpfLink, openObject, queryCgroup } from '@sluice/libbpf';
import { endpoint, requires, type Pod } from '@sluice/testbed';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Datapath, cleanup } from '../src/index.js';
import { loadObject, pinFresh } from '../src/open.js';
import { everythingAt } from '../src/attach-plan.js';
import { PINNED_MAPS, linkPin } from '../src/layout.js';
import { MeshedNode } from './meshed-node.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');
const PROGRAMS = [...everythingAt({ path: '/', id: 0n }).keys()];
const OBJECT = fileURLToPath(new URL('../dist/sluice.bpf.o', import.meta.url));

describe.skipIf(need.skip)(`damaged pins${need.label}`, () => {
  let mesh: MeshedNode;
  let pod: Pod;
  let at: { pinDirectory: string; cgroup: string };
  const acceptors = async (): Promise<(string | undefined)[]> =>
    (await pod.dial(endpoint(mesh.node.remote.ip4, 80))).hops.map(({ by }) => by);

  beforeEach(async () => {
    mesh = await MeshedNode.create();
    mesh.setZtunnel(await mesh.node.ztunnel());
    pod = await mesh.node.pod({ name: 'a' });
    mesh.enrol(pod);
    mesh.apply();
    at = { pinDirectory: mesh.pinDirectory, cgroup: mesh.node.cgroup.path };
  });
  afterEach(async () => mesh?.close());

  function start(): ReturnType<Datapath['activate']> {
    mesh.datapath.close();
    mesh.datapath = Datapath.open(at);
    mesh.apply();
    return mesh.datapath.activate();
  }

  /** A program where a map should be, a map where a link should be, a directory, a link to nowhere. */
  function damage(): void {
    using object = openObject(OBJECT);
    object.load();
    const { pinDirectory } = at;
    const { id } = mesh.node.cgroup;
    const [connect, sockops] = [
      linkPin(pinDirectory, 'sluice_connect4', id),
      linkPin(pinDirectory, 'sluice_sockops', id),
    ];
    for (const map of ['settings', 'local_pods', 'counters']) unlinkSync(`${pinDirectory}/maps/${map}`);
    for (const pin of [connect, sockops]) unlinkSync(pin);
    object.program('sluice_connect4').pin(`${pinDirectory}/maps/settings`);
    object.map('settings').pin(connect);
    mkdirSync(`${pinDirectory}/maps/local_pods/inner`, { recursive: true });
    mkdirSync(sockops);
    // A program of this version, at a cgroup that no plan has.
    mkdirSync(linkPin(pinDirectory, 'sluice_bind4', 1n));
    symlinkSync('/nowhere', `${pinDirectory}/maps/counters`);
    mkdirSync(`${pinDirectory}/maps/of-nobody`);
  }

  it('starts on what is left, and replaces what does not belong there', async () => {
    damage();
    expect(start().attached.map(({ program }) => program)).toEqual(['sluice_sockops', 'sluice_connect4']);
    expect(readdirSync(`${at.pinDirectory}/links`)).toHaveLength(PROGRAMS.length);
    // The programs that are still attached show which maps have lost their pins.
    expect(mesh.datapath.adopted).toHaveLength(PINNED_MAPS.length);
    expect(await acceptors()).toEqual(['ztunnel', 'remote']);
    expect(start().updated).toHaveLength(PROGRAMS.length);
    expect(mesh.datapath.adopted).toHaveLength(PINNED_MAPS.length);
    expect(await acceptors()).toEqual(['ztunnel', 'remote']);
  });

  it.each([
    ['the order of programs is as listed', false],
    ['another program runs before its place in the list', true],
  ])('goes on from a crash before the new link had its proper name, where %s', async (_where, isPreordered) => {
    const proper = linkPin(at.pinDirectory, 'sluice_bind4', mesh.node.cgroup.id);
    using object = openObject(OBJECT);
    object.load();
    const foreign = object.program('sluice_bind4');
    const ours = (): number[] =>
      queryCgroup(at.cgroup, 'cgroup_inet4_bind').programs.flatMap(({ id }) => (id === foreign.id ? [] : [id]));
    try {
      if (isPreordered) attachCgroupExclusively(foreign, at.cgroup, 66);
    } catch {
      return; // this kernel has no such order
    }
    renameSync(proper, `${proper}-next`);
    for (let round = 0; round < 2; round++) {
      expect(start()).toMatchObject({ attached: [], failures: [] });
      expect(ours()).toHaveLength(1);
      using link = BpfLink.openPinned(proper);
      expect(ours()).toEqual([link.info().programId]);
      expect(readdirSync(`${at.pinDirectory}/links`)).toHaveLength(PROGRAMS.length);
      expect(mesh.datapath.missing()).toEqual([]);
    }
    expect(await acceptors()).toEqual(['ztunnel', 'remote']);
  });

  it('cleans up whatever is there', async () => {
    damage();
    cleanup(at.pinDirectory, at.cgroup);
    expect(existsSync(at.pinDirectory)).toBe(false);
    for (const type of ['cgroup_inet4_connect', 'cgroup_inet6_connect', 'cgroup_sock_ops', 'cgroup_getsockopt']) {
      // What was unpinned before, the kernel detaches some time later.
      await expect.poll(() => queryCgroup(at.cgroup, type).programs).toEqual([]);
    }
    expect(await acceptors()).toEqual(['remote']);
  });

  it('after a crash between pinning new maps and attaching, the old programs stay in force, and the next start mends it', async () => {
    const loaded = loadObject({ ...at, capacities: { cgroups: 64 } });
    expect(loaded.fresh).toContain('cgroup_info_map');
    pinFresh(loaded, at.pinDirectory);
    loaded.object.close();
    expect(await acceptors()).toEqual(['ztunnel', 'remote']);
    // The pinned map is empty and no program uses it yet: the next agent fills it before any does.
    mesh.datapath.close();
    mesh.datapath = Datapath.open({ ...at, capacities: { cgroups: 64 } });
    expect(mesh.datapath.adopted).toHaveLength(PINNED_MAPS.length);
    mesh.apply();
    expect(mesh.datapath.activate().updated).toHaveLength(PROGRAMS.length);
    expect(await acceptors()).toEqual(['ztunnel', 'remote']);
  });
});
