// What somebody takes away of the datapath while its agent runs: it is named, and the next attach puts it back.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync, symlinkSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { BpfLink, BpfMap, openObject, queryCgroup } from '@sluice/libbpf';
import { Netns, silentListener } from '@sluice/linux';
import { endpoint, requires, type Pod } from '@sluice/testbed';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Datapath, INBOUND_PROGRAM, type MissingKind } from '../src/index.js';
import { APPLIED_MAPS } from '../src/entries.js';
import { maps as codecs } from '../src/generated/maps.js';
import { INBOUND_OBJECT_PATH, OBJECT_PATH, PINNED_MAPS, linkPin, mapPin, netnsLinkPin } from '../src/layout.js';
import { InPodNode } from './in-pod-node.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');

describe.skipIf(need.skip)(`what is taken away is put back${need.label}`, () => {
  let world: InPodNode;
  let pod: Pod;
  let netns: Netns;

  beforeEach(async () => {
    world = await InPodNode.create();
    pod = await world.pod({ name: 'a', serve: [80] });
    netns = Netns.open(pod.netns);
  });
  afterEach(async () => {
    netns?.close();
    await world?.close();
  });

  const pins = (): string => world.mesh.pinDirectory;
  const missing = (): string[] => world.mesh.datapath.missing().map(({ kind }) => kind);
  const putBack = (): void => {
    const { datapath } = world.mesh;
    datapath.attach(datapath.everything());
    datapath.attachNetns(netns);
  };
  const bothWays = async (): Promise<(string | undefined)[][]> => [
    (await pod.dial(endpoint(world.mesh.node.remote.ip4, 80))).hops.map(({ by }) => by),
    (await world.mesh.node.remote.dial(endpoint(pod.ip4, 80))).hops.map(({ by }) => by),
  ];
  const inTheMesh = [
    ['ztunnel', 'remote'],
    ['ztunnel', 'default/a'],
  ];
  const pinOf = (program: string): string => linkPin(pins(), program, world.mesh.node.cgroup.id);
  const detach = (pin: string): void => {
    using link = BpfLink.openPinned(pin);
    link.detach();
  };
  /** As another loader would do by mistake: the link goes on, with a program on maps that nobody writes. */
  const replace = (pin: string, object: string, program: string): void => {
    using other = openObject(object);
    other.load();
    using link = BpfLink.openPinned(pin);
    link.update(other.program(program));
  };
  const bpffs = (): string => join(pins(), '..');

  const faults: readonly {
    readonly name: string;
    readonly kinds: readonly MissingKind[];
    readonly make: () => void;
  }[] = [
    { name: 'a link detached', kinds: ['program'], make: () => detach(pinOf('sluice_connect4')) },
    {
      name: 'a link detached and unpinned',
      kinds: ['program'],
      make: () => {
        detach(pinOf('sluice_sockops'));
        unlinkSync(pinOf('sluice_sockops'));
      },
    },
    { name: 'a link unpinned', kinds: ['pin'], make: () => unlinkSync(pinOf('sluice_connect6')) },
    {
      name: 'a program replaced',
      kinds: ['replaced'],
      make: () => replace(pinOf('sluice_connect4'), OBJECT_PATH, 'sluice_connect4'),
    },
    { name: 'the inbound link detached', kinds: ['inbound'], make: () => detach(netnsLinkPin(pins(), netns.cookie)) },
    { name: 'the inbound link unpinned', kinds: ['pin'], make: () => unlinkSync(netnsLinkPin(pins(), netns.cookie)) },
    {
      name: 'the inbound program replaced',
      kinds: ['replaced'],
      make: () => replace(netnsLinkPin(pins(), netns.cookie), INBOUND_OBJECT_PATH, INBOUND_PROGRAM),
    },
    { name: 'a map unpinned', kinds: ['pin'], make: () => unlinkSync(mapPin(pins(), 'cgroup_info_map')) },
    {
      name: 'another map in the place of a pin',
      kinds: ['pin'],
      make: () => {
        using other = openObject(OBJECT_PATH);
        other.load();
        unlinkSync(mapPin(pins(), 'config'));
        other.map('config').pin(mapPin(pins(), 'config'));
      },
    },
    {
      name: 'everything unpinned',
      kinds: Array.from({ length: 0 }),
      make: () => rmSync(pins(), { recursive: true, force: true }),
    },
  ];

  it.each(faults)('$name', async ({ kinds, make }) => {
    expect(missing()).toEqual([]);
    const inForce = new Map(PINNED_MAPS.map((name) => [name, idOf(name)]));
    make();
    if (kinds.length > 0) expect(missing()).toEqual(kinds);
    else expect(new Set(missing())).toEqual(new Set(['pin']));
    putBack();
    expect(missing()).toEqual([]);
    expect(await bothWays()).toEqual(inTheMesh);
    // The maps are those that the programs have used all the time.
    expect(new Map(PINNED_MAPS.map((name) => [name, idOf(name)]))).toEqual(inForce);
    expect(readdirSync(join(pins(), 'links')).length).toBe(new Set(readdirSync(join(pins(), 'links'))).size);
    expect(queryCgroup(world.mesh.node.cgroup.path, 'cgroup_inet4_connect').programs).toHaveLength(1);
  });

  it('although it could not be pinned at first', async () => {
    const links = join(pins(), 'links');
    rmSync(links, { recursive: true });
    // No directory can be made there.
    symlinkSync('nowhere', links);
    expect(putBack).toThrow();
    expect(new Set(missing())).toEqual(new Set(['pin']));
    expect(await bothWays()).toEqual(inTheMesh);
    unlinkSync(links);
    putBack();
    expect(missing()).toEqual([]);
    expect(await bothWays()).toEqual(inTheMesh);
  });

  it('the socket that holds connections, by whoever has it', () => {
    const { datapath } = world.mesh;
    const socket = silentListener();
    try {
      expect(missing()).toEqual([]);
      datapath.holdBy(socket.fd);
      expect(missing()).toEqual([]);
      using listeners = BpfMap.openPinned(mapPin(pins(), 'listeners'));
      listeners.delete(codecs.listeners.encodeKey({ netnsCookie: 0n, port: 0n }));
      expect(missing()).toEqual(['holder']);
      datapath.holdBy(socket.fd);
      expect(missing()).toEqual([]);
      {
        // One of somebody else's, which may accept what it gets.
        using other = silentListener();
        const descriptor = codecs.listeners.encodeValue(BigInt(other.fd));
        listeners.update(codecs.listeners.encodeKey({ netnsCookie: 0n, port: 0n }), descriptor);
        expect(missing()).toEqual(['holder']);
      }
      datapath.holdBy(socket.fd);
      expect(missing()).toEqual([]);
    } finally {
      socket.close();
    }
    // The kernel takes a socket that is closed out of the map.
    expect(missing()).toEqual(['holder']);
  });

  it('entries of the maps, whatever is deleted, changed or added', async () => {
    const { datapath, desired } = world.mesh;
    datapath.setRouted(netns.cookie, new Map([0, 2].map((device) => [device, { ipv4: true, ipv6: true }])));
    const written = [...APPLIED_MAPS, 'routed_netns'] as const;
    const entries = written.flatMap((name) => {
      using map = BpfMap.openPinned(mapPin(pins(), name));
      return [...map.entries()].map(([key, value]) => ({ name, key: Buffer.from(key), value: Buffer.from(value) }));
    });
    expect(new Set(entries.map(({ name }) => name))).toContain('routed_netns');
    const fault = fc.record({
      entry: fc.constantFrom(...entries),
      what: fc.constantFrom('deleted', 'changed', 'added'),
      byte: fc.nat(),
      bits: fc.integer({ min: 1, max: 255 }),
    });
    const flipped = (bytes: Buffer, byte: number, bits: number): Buffer =>
      Buffer.from(bytes.map((each, at) => (at === byte % bytes.length ? each ^ bits : each)));
    fc.assert(
      fc.property(fault, ({ entry: { name, key, value }, what, byte, bits }) => {
        using map = BpfMap.openPinned(mapPin(pins(), name));
        if (what === 'changed') map.update(key, flipped(value, byte, bits));
        // The first bytes of a range's key are its length, and an array has no other keys.
        else if (map.type === 'array' || map.type === 'lpm_trie') return;
        else if (what === 'deleted') map.delete(key);
        // Another key that is there already is not added.
        else if (map.lookup(flipped(key, byte, bits)) === undefined) map.update(flipped(key, byte, bits), value);
        else return;
        expect(datapath.missing()).toEqual([
          {
            kind: 'entry',
            what: `entries of the map ${name} are not as they were written: 1 ${what === 'deleted' ? 'missing' : what}`,
          },
        ]);
        datapath.attach(datapath.everything());
        datapath.apply(desired);
        expect(datapath.missing()).toEqual([]);
      }),
    );
    expect(await bothWays()).toEqual(inTheMesh);
    // What is there is right, however it came there.
    using map = BpfMap.openPinned(mapPin(pins(), 'netns_info_map'));
    for (const [key, value] of Array.from(map.entries())) {
      map.delete(key);
      map.update(key, value);
    }
    expect(datapath.missing()).toEqual([]);
  });

  it('in any order, all of them', async () => {
    await fc.assert(
      fc.asyncProperty(fc.shuffledSubarray([...faults], { minLength: 2 }), async (some) => {
        for (const { make } of some) {
          try {
            make();
          } catch {
            // An earlier fault has taken away what this one needs.
          }
        }
        putBack();
        expect(missing()).toEqual([]);
        expect(await bothWays()).toEqual(inTheMesh);
      }),
      { numRuns: 12 },
    );
  });

  const idOf = (name: (typeof PINNED_MAPS)[number]): number => {
    using map = BpfMap.openPinned(mapPin(pins(), name));
    return map.id;
  };

  it('the BPF file system: everything stays in force without it, also what is attached meanwhile, and is pinned when there is one again', async () => {
    const ids = PINNED_MAPS.map(idOf);
    const out = await pod.load([endpoint(world.mesh.node.remote.ip4, 80)]);
    const into = await world.mesh.node.remote.load([endpoint(pod.ip4, 80)]);
    execFileSync('umount', [bpffs()]);
    expect(missing()).toEqual(['bpffs']);
    putBack();
    expect(missing()).toEqual(['bpffs']);
    const later = await world.pod({ name: 'later', serve: [80] });
    expect((await world.mesh.node.remote.dial(endpoint(later.ip4, 80))).hops.map(({ by }) => by)).toEqual([
      'ztunnel',
      'default/later',
    ]);
    expect(queryCgroup(world.mesh.node.cgroup.path, 'cgroup_inet4_connect').programs).toHaveLength(1);
    execFileSync('mount', ['-t', 'bpf', 'bpf', bpffs()]);
    expect(new Set(missing())).toEqual(new Set(['pin']));
    putBack();
    expect(missing()).toEqual([]);
    expect(PINNED_MAPS.map(idOf)).toEqual(ids);
    for (const load of [out, into]) {
      await load.progress(2);
      const summary = await load.stop();
      expect(summary).toMatchObject({ refused: 0, direct: 0, errors: 0, redirected: summary.attempts });
    }
    // The next agent finds all of it.
    world.mesh.datapath.close();
    world.mesh.datapath = Datapath.open({ pinDirectory: pins(), cgroup: world.mesh.node.cgroup.path });
    expect(world.mesh.datapath.adopted).toHaveLength(PINNED_MAPS.length);
    world.mesh.apply();
    world.mesh.datapath.activate();
    expect(existsSync(netnsLinkPin(pins(), netns.cookie))).toBe(true);
    expect(await bothWays()).toEqual(inTheMesh);
  });

  it('a map that is unpinned while no agent runs is found by the programs that use it', async () => {
    const { mesh } = world;
    const ids = PINNED_MAPS.map(idOf);
    mesh.datapath.close();
    for (const name of ['cgroup_info_map', 'listeners', 'inbound_counters'] as const) unlinkSync(mapPin(pins(), name));
    mesh.datapath = Datapath.open({ pinDirectory: pins(), cgroup: mesh.node.cgroup.path });
    expect(mesh.datapath.adopted).toHaveLength(PINNED_MAPS.length);
    expect(mesh.datapath.apply(mesh.desired)).toMatchObject({ written: 0, removed: 0 });
    mesh.datapath.activate();
    expect(PINNED_MAPS.map(idOf)).toEqual(ids);
    expect(await bothWays()).toEqual(inTheMesh);
  });
});
