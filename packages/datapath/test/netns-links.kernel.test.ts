// The inbound program's links to network namespaces: made, found again, taken over by another agent, and removed.
import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { BpfMap, mapInfo, openObject, programInfo } from '@sluice/libbpf';
import { Netns, netnsCookie } from '@sluice/linux';
import { endpoint, requires, type Pod } from '@sluice/testbed';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Datapath, DatapathError, InstalledDatapath, cleanup, readNetnsLinks } from '../src/index.js';
import { INBOUND_OBJECT_PATH, OBJECT_PATH, netnsLinkPin } from '../src/layout.js';
import { InPodNode } from './in-pod-node.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');

describe.skipIf(need.skip)(`links to network namespaces${need.label}`, () => {
  let world: InPodNode;
  let pod: Pod;
  let netns: Netns;
  let cookie: bigint;

  beforeEach(async () => {
    world = await InPodNode.create();
    pod = await world.pod({ name: 'a', serve: [80] });
    netns = Netns.open(pod.netns);
    ({ cookie } = netns);
  });
  afterEach(async () => {
    netns?.close();
    await world?.close();
  });

  const acceptors = async (): Promise<(string | undefined)[]> =>
    (await world.mesh.node.remote.dial(endpoint(pod.ip4, 80))).hops.map(({ by }) => by);
  const steered = ['ztunnel', 'default/a'];
  const programId = (): number | undefined => readNetnsLinks(world.mesh.pinDirectory)[0]?.link.programId;

  /** Starts a new agent, which applies and activates. */
  function restart(options: Partial<Parameters<typeof Datapath.open>[0]> = {}): Datapath {
    const { mesh } = world;
    mesh.datapath.close();
    mesh.datapath = Datapath.open({ pinDirectory: mesh.pinDirectory, cgroup: mesh.node.cgroup.path, ...options });
    mesh.apply();
    mesh.datapath.activate();
    return mesh.datapath;
  }

  it('are made once, listed, and ended at once', async () => {
    const { datapath, pinDirectory } = world.mesh;
    expect(datapath.attachNetns(netns)).toBe('present');
    expect(datapath.attachedNetns()).toEqual(new Set([cookie]));
    using installed = InstalledDatapath.open(pinDirectory);
    expect(installed.netnsLinks()).toMatchObject([
      { netnsCookie: cookie, link: { type: 'netns', attachType: 'sk_lookup' } },
    ]);
    expect(installed.capturedListener(cookie, 15006)).toBe(world.captured(pod, 15006));
    expect(await acceptors()).toEqual(steered);
    expect(datapath.detachNetns(cookie)).toBe(true);
    expect(await acceptors()).toEqual(['default/a']);
    expect(datapath.detachNetns(cookie)).toBe(false);
    expect(datapath.attachedNetns().size).toBe(0);
    expect(datapath.attachNetns(netns)).toBe('attached');
    expect(await acceptors()).toEqual(steered);
  });

  it('go on without the agent, and the next one of the same version leaves them as they are', async () => {
    world.mesh.datapath.close();
    expect(await acceptors()).toEqual(steered);
    const before = programId();
    const datapath = restart();
    expect(programId()).toBe(before);
    expect(datapath.attachNetns(netns)).toBe('present');
    expect(await acceptors()).toEqual(steered);
  });

  it('have a program that knows its namespace for good, loaded ahead or not', async () => {
    const { datapath } = world.mesh;
    for (const isAhead of [false, true]) {
      if (isAhead) datapath.stockUp();
      datapath.detachNetns(cookie);
      expect(datapath.attachNetns(netns)).toBe('attached');
      expect(await acceptors()).toEqual(steered);
      const id = programInfo(programId() ?? 0).mapIds.find((map) => mapInfo(map).name === 'attached_to');
      using attachedTo = BpfMap.openId(id ?? 0);
      const key = Buffer.from(Uint32Array.of(0).buffer);
      expect(attachedTo.lookup(key)?.readBigUInt64LE()).toBe(cookie);
      expect(() => attachedTo.update(key, Buffer.alloc(8))).toThrow(/EPERM/);
    }
  });

  it('get the program that works on the current maps', async () => {
    const before = programId();
    const datapath = restart({ capacities: { netns: 64 } });
    expect(programId()).not.toBe(before);
    expect(datapath.attachNetns(netns)).toBe('present');
    expect(await acceptors()).toEqual(steered);
    world.mesh.leave(pod);
    world.mesh.apply();
    expect(await acceptors()).toEqual(['default/a']);
  });

  it('of an agent that died before it could update them are updated when a namespace is attached', async () => {
    const { mesh } = world;
    mesh.datapath.close();
    // As an earlier version had it.
    {
      using former = openObject(OBJECT_PATH, { maps: { listeners: { maxEntries: 8 } } });
      former.load();
      rmSync(`${mesh.pinDirectory}/maps/listeners`);
      former.map('listeners').pin(`${mesh.pinDirectory}/maps/listeners`);
    }
    mesh.datapath = Datapath.open({ pinDirectory: mesh.pinDirectory, cgroup: mesh.node.cgroup.path });
    mesh.apply();
    expect(mesh.datapath.attachNetns(netns)).toBe('updated');
    mesh.datapath.activate();
    expect(mesh.datapath.attachNetns(netns)).toBe('present');
    // The listeners went with the old map until they are captured again; meanwhile nothing is let in.
    expect(await mesh.node.remote.dial(endpoint(pod.ip4, 80))).toMatchObject({ error: 'ECONNREFUSED' });
    await world.listen(pod, { name: 'second' });
    expect((await acceptors())[0]).toBe('second');
  });

  it('of a namespace that is gone are forgotten', async () => {
    const { datapath, pinDirectory } = world.mesh;
    world.withdraw(pod);
    await world.ztunnel.event('removed');
    await pod.delete();
    // It exists as long as something holds it.
    expect(readNetnsLinks(pinDirectory)[0]?.link.netnsInode).toBe(Number(netns.inode));
    netns.close();
    await expect.poll(() => readNetnsLinks(pinDirectory)[0]?.link.netnsInode).toBe(0);
    expect(datapath.attachedNetns().size).toBe(1);
    restart();
    expect(world.mesh.datapath.attachedNetns().size).toBe(0);
    expect(existsSync(netnsLinkPin(pinDirectory, cookie))).toBe(false);
  });

  it('are not taken for those of another namespace, and are none to one that is closed', async () => {
    const { node, pinDirectory } = world.mesh;
    const [own, others] = [netnsLinkPin(pinDirectory, cookie), `${pinDirectory}/other`];
    using other = Netns.open((await node.pod({ name: 'b' })).netns);
    world.mesh.datapath.attachNetns(other);
    world.mesh.datapath.close();
    renameSync(own, others);
    renameSync(netnsLinkPin(pinDirectory, other.cookie), own);
    // One that holds its links pins them again.
    const datapath = Datapath.open({ pinDirectory, cgroup: node.cgroup.path });
    world.mesh.datapath = datapath;
    expect(() => datapath.attachNetns(netns)).toThrow(
      `is a link to another network namespace than ${pod.netns}: that one has the inode ${other.inode}, this one ${netns.inode}`,
    );
    renameSync(others, own);
    expect(datapath.attachNetns(netns)).toBe('present');
    datapath.detachNetns(cookie);
    netns.close();
    expect(() => datapath.attachNetns(netns)).toThrow(DatapathError);
    expect(datapath.attachedNetns()).toEqual(new Set());
  });

  it('replace anything else at their place', async () => {
    const { datapath, pinDirectory } = world.mesh;
    datapath.detachNetns(cookie);
    using map = BpfMap.openPinned(`${pinDirectory}/maps/events`);
    map.pin(netnsLinkPin(pinDirectory, cookie));
    expect(datapath.attachNetns(netns)).toBe('attached');
    expect(await acceptors()).toEqual(steered);
  });

  it('go with everything else, pinned or not, and only ours go', async () => {
    const { mesh } = world;
    await using other = await InPodNode.create();
    const untouched = await other.pod({ name: 'b', serve: [80] });
    // A link that no pin names: its bpffs was lost.
    rmSync(netnsLinkPin(mesh.pinDirectory, cookie));
    mesh.datapath.attachNetns(netns);
    using reuse = BpfMap.openPinned(`${mesh.pinDirectory}/maps/netns_info_map`);
    using foreign = openObject(INBOUND_OBJECT_PATH, { maps: { netns_info_map: { reuse } } });
    foreign.load();
    using stray = foreign.program('sluice_inbound').attachNetns(netns);
    expect(stray.info().type).toBe('netns');
    const { detached } = cleanup(mesh.pinDirectory, mesh.node.cgroup.path);
    expect(detached).toContain(`netns-${cookie}`);
    expect(detached).toContain('sluice_inbound');
    expect(existsSync(mesh.pinDirectory)).toBe(false);
    expect(await acceptors()).toEqual(['default/a']);
    expect(readdirSync(`${other.mesh.pinDirectory}/links`)).toContain(`netns-${netnsCookie(untouched.netns)}`);
    const { hops } = await other.mesh.node.remote.dial(endpoint(untouched.ip4, 80));
    expect(hops.map(({ by }) => by)).toEqual(['ztunnel', 'default/b']);
    expect(cleanup(mesh.pinDirectory, mesh.node.cgroup.path)).toEqual({ detached: [], unpinned: [] });
  });
});
