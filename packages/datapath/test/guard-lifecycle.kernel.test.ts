// The guard from its beginning to its end: what is pinned, who takes it over, what it says, and what is left of it.
import { randomUUID } from 'node:crypto';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BpfLink, linkIds, linkInfo, programInfo } from '@sluice/libbpf';
import { Netns } from '@sluice/linux';
import { Cgroup, cgroup2Root, requires } from '@sluice/testbed';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  GUARD_PARTS,
  Datapath,
  DatapathError,
  type Guard,
  InstalledDatapath,
  cleanup,
  readGuard,
  type PodEvent,
} from '../src/index.js';
import { endLink, guardPin } from '../src/guard/links.js';
import { INBOUND_OBJECT_PATH, PINNED_MAPS, guardDirectory, linksDirectory, mapPin } from '../src/layout.js';
import { clearPin } from '../src/pins.js';
import { GuardedNode, MESHED, canRefuseListen, clientIn } from './guarded-node.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');
const DIST = fileURLToPath(new URL('../dist/index.js', import.meta.url));

/** What this kernel has of it. */
const PARTS = GUARD_PARTS.filter((part) => part !== 'refuse_listen' || canRefuseListen);

/** The maps that only the guard has, and the programs that ask it. */
const OWN_MAPS = [
  'expected_cgroups',
  'expected_pods',
  'guard_config',
  'held_listeners',
  'meshed_namespaces',
  'path_buffers',
  'pod_cgroups',
  'pod_events',
  'pods_parents',
  'reachable_pods',
] as const;

describe.skipIf(need.skip)(`the guard's life${need.label}`, () => {
  let world: GuardedNode;

  beforeEach(async () => {
    world = await GuardedNode.create();
  });
  afterEach(() => world?.close());

  const programs = (): number[] => readGuard(world.mesh.pinDirectory).map(({ programId }) => programId);
  /** Of all that is attached anywhere on the machine. */
  const attached = (): number => {
    const own = new Set(programs());
    return linkIds().filter((id) => own.has(linkInfo(id).programId)).length;
  };
  const isHeld = async (): Promise<boolean> => {
    const { id } = await world.pod({});
    return world.guard.expected().has(id);
  };

  it('outlives the process that made it', async () => {
    world.guard.close();
    const { pinDirectory } = world.mesh;
    for (const part of GUARD_PARTS) endLink(guardPin(pinDirectory, part));
    const script = `
      const { Guard } = await import(${JSON.stringify(DIST)});
      const guard = Guard.open(${JSON.stringify({ pinDirectory, cgroup: world.mesh.node.cgroup.path, podLogs: world.podLogs, meshedNamespaces: [MESHED] })});
      guard.endFormer();
    `;
    const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const { id } = await world.pod({});
    using installed = InstalledDatapath.open(pinDirectory);
    expect(installed.expected()).toContain(id);
  });

  it('is taken over as it is by the same version, with what it knows', async () => {
    const before = readGuard(world.mesh.pinDirectory);
    expect(before.map(({ part }) => part)).toEqual(PARTS);
    const { id } = await world.pod({});
    world.guard.close();
    world.guard = world.openGuard();
    expect(readGuard(world.mesh.pinDirectory)).toEqual(before);
    expect(world.guard.expected()).toContain(id);
    expect(await isHeld()).toBe(true);
    expect(attached()).toBe(before.length);
  });

  it('looks at another directory at once', async () => {
    const other = join(world.mesh.node.directory, 'other-pods');
    mkdirSync(other);
    world.guard.close();
    world.guard = world.openGuard({ podLogs: `${other}/` });
    expect(await isHeld()).toBe(false);
    const uid = randomUUID();
    const cgroup = new Cgroup(join(world.mesh.node.cgroup.path, `kubepods/pod${uid}`));
    expect(await world.kubelet.run('mkdirat', `${other}/${MESHED}_cart_${uid}`)).toBe('ok');
    expect(world.guard.expected()).toContain(cgroup.id);
  });

  it('is replaced by another version without a gap, on other maps', async () => {
    const { mesh } = world;
    const before = programs();
    const fresh = Datapath.open({
      pinDirectory: mesh.pinDirectory,
      cgroup: mesh.node.cgroup.path,
      capacities: { pods: 1000 },
    });
    expect(fresh.apply(mesh.desired).failures).toEqual([]);
    // Pods come all the while, in whichever maps they are seen.
    const ids: bigint[] = [];
    const coming = (async () => {
      for (let i = 0; i < 40; i++) ids.push((await world.pod({})).id);
    })();
    const old = world.guard;
    fresh.activate();
    world.guard = world.openGuard({
      meshedNamespaces: [MESHED],
      podsParents: world.parents.map(({ id }) => id),
    });
    await coming;
    const seen = new Set([...old.expected(), ...world.guard.expected()]);
    expect(ids.filter((id) => !seen.has(id))).toEqual([]);
    expect(await isHeld()).toBe(true);
    expect(programs().filter((id) => before.includes(id))).toEqual([]);
    expect(attached()).toBe(before.length);
    expect(readdirSync(`${mesh.pinDirectory}/guard`).toSorted()).toEqual(PARTS.toSorted());
    old.close();
    mesh.datapath.close();
    mesh.datapath = fresh;
  });

  it('puts back what is missing, and removes what does not belong there', async () => {
    const directory = `${world.mesh.pinDirectory}/guard`;
    endLink(guardPin(world.mesh.pinDirectory, 'mkdirat'));
    mkdirSync(join(directory, 'let_go-next'));
    expect(readGuard(world.mesh.pinDirectory).map(({ part }) => part)).not.toContain('mkdirat');
    world.guard.close();
    world.guard = world.openGuard();
    expect(await isHeld()).toBe(true);
    expect(readdirSync(directory).toSorted()).toEqual(PARTS.toSorted());
  });

  it('goes on without its pins, says so, and pins them again', async () => {
    const { pinDirectory } = world.mesh;
    expect(world.guard.restore()).toEqual([]);
    const before = readGuard(pinDirectory);
    for (const { part } of before) unlinkSync(guardPin(pinDirectory, part));
    expect(await isHeld()).toBe(true);
    expect(world.guard.disturbed()).toEqual(before.map(({ part }) => ({ kind: 'pin', what: isNotPinned(part) })));
    expect(world.guard.restore()).toEqual(PARTS);
    expect(readGuard(pinDirectory)).toEqual(before);
    expect([world.guard.disturbed(), world.guard.restore()]).toEqual([[], []]);
    // They are the very links: it can be left again.
    world.guard.close();
    const { id } = await world.pod({});
    using installed = InstalledDatapath.open(pinDirectory);
    expect(installed.expected()).toContain(id);
  });

  it('goes on while no BPF file system is mounted, and is pinned in the next one', async () => {
    const { pinDirectory } = world.mesh;
    const before = readGuard(pinDirectory);
    const file = dirname(pinDirectory);
    execFileSync('umount', [file]);
    expect(await isHeld()).toBe(true);
    expect(world.guard.disturbed()).toEqual(before.map(({ part }) => ({ kind: 'pin', what: isNotPinned(part) })));
    expect(() => world.guard.restore()).toThrow(/no BPF file system is mounted/);
    expect(await isHeld()).toBe(true);
    execFileSync('mount', ['-t', 'bpf', 'bpf', file]);
    expect(world.guard.restore()).toEqual(PARTS);
    expect(readGuard(pinDirectory)).toEqual(before);
    expect(await isHeld()).toBe(true);
  });

  it.each([
    ['another one is mounted over it', ['mount', '-t', 'bpf', 'bpf'], ['umount']],
    ['it is read-only', ['mount', '-o', 'remount,ro'], ['mount', '-o', 'remount,rw']],
  ])('goes on where its BPF file system is not as it was: %s', async (_how, change, undo) => {
    const { pinDirectory } = world.mesh;
    const file = dirname(pinDirectory);
    const run = ([command = '', ...options]: readonly string[]): unknown => execFileSync(command, [...options, file]);
    const before = readGuard(pinDirectory);
    run(change);
    try {
      expect(await isHeld()).toBe(true);
      world.guard.restore();
      expect([world.guard.attached(), world.guard.disturbed()]).toEqual([PARTS, []]);
    } finally {
      run(undo);
    }
    world.guard.restore();
    expect([readGuard(pinDirectory), world.guard.disturbed()]).toEqual([before, []]);
    expect(await isHeld()).toBe(true);
  });

  it('comes back as it was when what was in the way of its pins is gone', async () => {
    const directory = guardDirectory(world.mesh.pinDirectory);
    const before = world.guard.attached();
    rmSync(directory, { recursive: true });
    // No directory can be made there.
    symlinkSync('nowhere', directory);
    for (let time = 0; time < 2; time++) {
      expect(() => world.guard.restore()).toThrow(/mkdir/);
      expect(world.guard.disturbed().map(({ what }) => what)).toEqual(before.map(isNotPinned));
      expect(world.guard.attached()).toEqual(before);
      expect(world.guard.canLetGo()).toBe(true);
      expect(await isHeld()).toBe(true);
    }
    world.guard.endFormer();
    unlinkSync(directory);
    expect(world.guard.restore()).toEqual(before);
    expect(world.guard.attached()).toEqual(before);
    expect([world.guard.disturbed(), world.guard.missing()]).toEqual([[], []]);
    expect(await isHeld()).toBe(true);
  });

  it('comes back when a pin has been replaced, and does not take the other one for its own', async () => {
    const { pinDirectory } = world.mesh;
    const pin = guardPin(pinDirectory, 'mkdirat');
    const before = readGuard(pinDirectory);
    using other = BpfLink.openPinned(guardPin(pinDirectory, 'cgroup_rmdir'));
    unlinkSync(pin);
    other.pin(pin);
    expect(await isHeld()).toBe(true);
    expect(world.guard.restore()).toEqual(['mkdirat']);
    expect(readGuard(pinDirectory)).toEqual(before);
    // The next one finds the other, and attaches its own beside it, whose pin goes as well before it takes that place.
    world.guard.close();
    unlinkSync(pin);
    other.pin(pin);
    world.guard = world.openBeside();
    unlinkSync(`${pin}-next-1`);
    world.guard.endFormer();
    expect(await isHeld()).toBe(true);
    expect(world.guard.restore()).toEqual(['mkdirat']);
    world.guard.endFormer();
    expect(await isHeld()).toBe(true);
    expect(readGuard(pinDirectory).map(({ part }) => part)).toEqual(PARTS);
    expect(readdirSync(guardDirectory(pinDirectory)).toSorted()).toEqual(PARTS.toSorted());
  });

  describe('while descriptors have run out', () => {
    it('pins again what was unpinned', async () => {
      const before = readGuard(world.mesh.pinDirectory);
      for (const part of ['mkdirat', 'let_go'] as const) unlinkSync(guardPin(world.mesh.pinDirectory, part));
      expect(withDescriptors(A_FEW, () => world.guard.restore())).toEqual(['mkdirat', 'let_go']);
      expect(readGuard(world.mesh.pinDirectory)).toEqual(before);
      expect([world.guard.disturbed(), world.guard.missing()]).toEqual([[], []]);
    });

    it('is opened without its parts, says so, and attaches them when there are some', async () => {
      const before = world.guard.attached();
      world.guard.close();
      for (const part of GUARD_PARTS) endLink(guardPin(world.mesh.pinDirectory, part));
      world.guard = withDescriptors(PINNED_MAPS.length + A_FEW, () => world.openGuard());
      expect(world.guard.attached()).toEqual([]);
      expect(world.guard.missing().map(({ part }) => part)).toEqual(GUARD_PARTS);
      expect(world.guard.disturbed().map(({ what }) => what)).toEqual(GUARD_PARTS.map(isNotAttached));
      world.guard.restore();
      expect(world.guard.attached()).toEqual(before);
      expect([world.guard.disturbed(), world.guard.missing()]).toEqual([[], []]);
      expect(world.guard.canLetGo()).toBe(true);
      expect(await isHeld()).toBe(true);
    });
  });

  it('holds no listener that nobody could let go', async () => {
    const home = await world.mesh.node.pod({ name: 'home' });
    const client = await clientIn(world, await world.mesh.node.pod({ name: 'elsewhere' }));
    const { process } = await world.pod({ netns: home.netns });
    using _broken = world.openGuard({ objectPath: INBOUND_OBJECT_PATH });
    const ids = [await process.listen('::', 80), await process.listen('::', 81, ['reuseport'])];
    for (const [index, id] of ids.entries()) expect(await client.dial(home.ip4, 80 + index)).toBe(`ok ${id}`);
    expect(await process.dial(world.mesh.node.ip4, 1)).toBe('ECONNREFUSED');
    world.guard.close();
    world.guard = world.openGuard();
    await process.listen('::', 82);
    expect(await client.dial(home.ip4, 82)).toBe('ECONNREFUSED');
  });

  it('says what it cannot have, and needs an active datapath', () => {
    using nothing = world.openGuard({ objectPath: INBOUND_OBJECT_PATH });
    expect(nothing.missing().map(({ part }) => part)).toEqual(GUARD_PARTS);
    expect(nothing.missing()[0]?.why).toContain("has no program 'sluice_cgroup_rmdir'");
    // Nothing is amiss, and another try would not help.
    expect(nothing.disturbed()).toEqual([]);
    const open = (): Guard => world.openGuard({ pinDirectory: join(world.mesh.pinDirectory, 'x') });
    expect(open).toThrow(DatapathError);
    expect(open).toThrow(/Pin the maps of the datapath first/);
    expect(() => world.openGuard({ podLogs: 'var/log/pods' })).toThrow(/absolute path of at most 127 bytes/);
    expect(() => world.openGuard({ podLogs: `/${'x'.repeat(127)}` })).toThrow(RangeError);
  });

  it('takes namespaces into the mesh and out of it, and says for which there is no room', async () => {
    expect(world.guard.setMeshedNamespaces(['a', 'b'.repeat(63)])).toEqual([]);
    expect(await isHeld()).toBe(false);
    expect(world.guard.setMeshedNamespaces([MESHED])).toEqual([]);
    expect(await isHeld()).toBe(true);
    const ids = Array.from({ length: 20 }, (_, index) => BigInt(index + 1));
    expect(world.guard.setPodsParents(ids)).toHaveLength(4);
    expect(world.guard.setPodsParents([1n])).toEqual([]);
  });

  it('expects a pod of which it was told without a log directory, until it is told otherwise or the cgroup is gone', async () => {
    const [first, second, third] = [randomUUID(), randomUUID(), randomUUID()];
    const begin = (uid: string): Cgroup => new Cgroup(join(world.mesh.node.cgroup.path, `kubepods/pod${uid}`));
    const isExpected = ({ id }: Cgroup): boolean => world.guard.expected().has(id);
    expect(world.guard.setPods({ awaited: [first, second, 'no-uid'], present: new Map(), out: [] })).toEqual([]);
    const cgroup = begin(first);
    const present = new Map([[cgroup.id, cgroup.path]]);
    expect(isExpected(cgroup)).toBe(true);
    // The first one has begun, and the second one is not wanted any more.
    expect(world.guard.setPods({ awaited: [third], present, out: [] })).toEqual([]);
    expect(isExpected(cgroup)).toBe(true);
    expect(isExpected(begin(second))).toBe(false);
    rmdirSync(cgroup.path);
    expect(isExpected(begin(first))).toBe(false);
    world.guard.close();
    world.guard = world.openGuard();
    expect(isExpected(begin(third))).toBe(true);
    // Its cgroup comes between the agent's look and its word.
    const fourth = randomUUID();
    const early = begin(fourth);
    expect(isExpected(early)).toBe(false);
    expect(world.guard.setPods({ awaited: [fourth], present: new Map([[early.id, early.path]]), out: [] })).toEqual([]);
    expect(isExpected(early)).toBe(true);
  });

  it('counts the pods for which there is no room, and takes none from another', async () => {
    const { mesh } = world;
    world.leave();
    mesh.datapath = Datapath.open({
      pinDirectory: mesh.pinDirectory,
      cgroup: mesh.node.cgroup.path,
      capacities: { pods: 20 },
    });
    mesh.apply();
    mesh.datapath.activate();
    world.guard = world.openGuard({ meshedNamespaces: [MESHED] });
    const full = (): bigint => mesh.datapath.counters().events['expected-full'];
    const pods = [];
    while (full() === 0n) pods.push(await world.pod({}));
    const held = pods.slice(0, -1).map(({ id }) => id);
    expect(world.guard.expected()).toEqual(new Set(held));
    await world.pod({});
    expect(world.guard.expected()).toEqual(new Set(held));
    for (const { cgroup } of pods) cgroup.remove();
    expect(await isHeld()).toBe(true);
  });

  it('tells of the cgroups of pods, and of no others', async () => {
    const events: PodEvent[] = [];
    const reader = world.guard.events((batch) => events.push(...batch));
    // Another node of the machine, with a pod of its own.
    const other = new Cgroup(`${cgroup2Root()}/${world.mesh.node.id}-outside/kubepods/pod${randomUUID()}`);
    other.remove();
    try {
      const foreign = world.mesh.node.cgroup.child('system/some.service');
      foreign.remove();
      const { cgroup, container } = await world.pod({ style: 'systemd', namespace: 'other' });
      const nested = container.child('nested');
      const seen = [cgroup, container, nested].map((each) => ({ cgroupId: each.id, path: each.hierarchyPath }));
      for (const each of [nested, container, cgroup]) rmdirSync(each.path);
      const wanted = [
        // The QoS class's slice is inside the one that holds pods, too.
        expect.objectContaining({ kind: 'cgroup-made', path: expect.stringMatching(/kubepods-besteffort\.slice$/) }),
        ...seen.map((each) => ({ kind: 'cgroup-made', ...each })),
        ...seen.toReversed().map((each) => ({ kind: 'cgroup-removed', ...each })),
      ];
      await expect.poll(() => events).toEqual(wanted);
    } finally {
      reader.close();
    }
  });

  describe('after an agent that does not know it, and has removed its maps and the programs that go with it', () => {
    /** A pod's listener is held; dials it from another pod. */
    async function heldSince(): Promise<{
      readonly dial: () => Promise<string>;
      readonly netns: string;
      readonly id: bigint;
    }> {
      const { pinDirectory, node } = world.mesh;
      const home = await node.pod({ name: 'home' });
      const client = await clientIn(world, await node.pod({ name: 'elsewhere' }));
      const { process, id } = await world.pod({ netns: home.netns });
      await process.listen('::', 80);
      const dial = (): Promise<string> => client.dial(home.ip4, 80);
      expect(await dial()).toBe('ECONNREFUSED');
      world.guard.close();
      world.mesh.datapath.close();
      for (const name of readdirSync(linksDirectory(pinDirectory))) endLink(join(linksDirectory(pinDirectory), name));
      for (const name of OWN_MAPS) clearPin(mapPin(pinDirectory, name));
      return { dial, netns: home.netns, id };
    }

    it('the next one lets go what was held', async () => {
      const { dial, netns, id } = await heldSince();
      const { mesh } = world;
      mesh.datapath = Datapath.open({ pinDirectory: mesh.pinDirectory, cgroup: mesh.node.cgroup.path });
      mesh.apply();
      mesh.datapath.activate();
      world.guard = world.openGuard({ meshedNamespaces: [MESHED] });
      expect(world.guard.expected()).toContain(id);
      world.guard.setReachable([[id, 0n]]);
      using namespace = Netns.open(netns);
      expect(world.guard.letGo(namespace)).toBe(1);
      expect(await dial()).toMatch(/^ok/);
      expect(await isHeld()).toBe(true);
    });

    it('cleanup lets go what was held', async () => {
      const { dial } = await heldSince();
      const { mesh } = world;
      expect(cleanup(mesh.pinDirectory, mesh.node.cgroup.path).detached).toContain('guard-let_go');
      expect(await dial()).toMatch(/^ok/);
    });
  });

  it('is removed with the datapath, and lets everything go', async () => {
    const { mesh } = world;
    const home = await mesh.node.pod({ name: 'home' });
    const elsewhere = await mesh.node.pod({ name: 'elsewhere' });
    const client = await clientIn(world, elsewhere);
    const { process } = await world.pod({ netns: home.netns });
    const id = await process.listen('::', 80);
    expect(await client.dial(home.ip4, 80)).toBe('ECONNREFUSED');
    const ids = programs();
    const { detached } = cleanup(mesh.pinDirectory, mesh.node.cgroup.path);
    expect(detached).toEqual(expect.arrayContaining(['guard-mkdirat', 'guard-cgroup_mkdir', 'guard-let_go']));
    expect(existsSync(mesh.pinDirectory)).toBe(false);
    expect(await client.dial(home.ip4, 80)).toBe(`ok ${id}`);
    await client.listen('::', 81);
    expect(await process.dial(elsewhere.ip4, 81)).toMatch(/^ok/);
    world.guard.close();
    for (const program of ids) expect(() => programInfo(program)).toThrow(/ENOENT/);
    expect(cleanup(mesh.pinDirectory, mesh.node.cgroup.path)).toEqual({ detached: [], unpinned: [] });
  });
});

const isNotAttached = (part: string): string => `the guard’s ${part} is not attached`;
const isNotPinned = (part: string): string => `the guard’s ${part} is not pinned`;

/** Enough to read a file, and to open the object, which uses more of them than there are maps as it is loaded. */
const A_FEW = 3;

/** More than a command takes to be run (three pipes, one for its error, and those of libuv), which is what raises the limit again. */
const FOR_A_COMMAND = 32;

/** The last of the descriptors that this process may have, of which only so many are free while something runs. */
function withDescriptors<T>(free: number, run: () => T): T {
  const [, soft = ''] = /^Max open files\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
  const limit = (count: string | number): unknown =>
    execFileSync('prlimit', [`--nofile=${count}:`, '--pid', String(process.pid)]);
  const taken = Array.from({ length: FOR_A_COMMAND }, () => openSync('/dev/null', 'r'));
  const used = Math.max(...readdirSync('/proc/self/fd').map(Number));
  limit(used + 2 + free);
  try {
    for (;;) taken.push(openSync('/dev/null', 'r'));
  } catch {
    for (const fd of taken.splice(-free)) closeSync(fd);
  }
  try {
    return run();
  } finally {
    for (const fd of taken) closeSync(fd);
    limit(soft);
  }
}
