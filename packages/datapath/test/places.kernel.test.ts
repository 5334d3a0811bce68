// Programs where a plan has them: who is seen there, and what becomes of connections while a plan changes.
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { BpfLink, attachCgroupExclusively, openObject, queryCgroup } from '@sluice/libbpf';
import { TestNode, endpoint, requires, type HostProcess, type Pod } from '@sluice/testbed';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  Datapath,
  WorkloadFlag,
  attachPlan,
  nameInKernel,
  type AttachPlan,
  type Needs,
  type Place,
} from '../src/index.js';
import { everythingAt } from '../src/attach-plan.js';
import { linkPin } from '../src/layout.js';
import { ForeignPrograms } from './foreign-programs.js';
import { InPodNode } from './in-pod-node.js';
import { cgroupId, MeshedNode } from './meshed-node.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');
const PROGRAMS = [...everythingAt({ path: '/', id: 0n }).keys()];
const OBJECT = fileURLToPath(new URL('../dist/sluice.bpf.o', import.meta.url));
/** As in foreign.bpf.c, which translates them to the other node. */
const SERVICE = { ip4: '192.0.2.10', ip6: '2001:db8::10' };
const NOTHING_LOST = { refused: 0, direct: 0, errors: 0, firstErrors: [] };

const place = (path: string): Place => ({ path, id: cgroupId(path) });

describe.skipIf(need.skip)(`programs where they are needed${need.label}`, () => {
  let world: InPodNode;
  let mesh: MeshedNode;
  let kubelet: HostProcess;
  let pod: Pod;

  beforeEach(async () => {
    world = await InPodNode.create();
    mesh = world.mesh;
    kubelet = await mesh.node.kubelet();
    mesh.setKubelet(kubelet);
    pod = await world.pod({ name: 'a', serve: [80] });
  });
  afterEach(async () => world?.close());

  const root = (): Place => place(mesh.node.cgroup.path);
  const kubepods = (): Place => place(mesh.node.cgroup.child('kubepods').path);
  const needs = (more: Partial<Needs> = {}): Needs => ({
    mode: 'inPod',
    root: root(),
    podsParents: [kubepods()],
    kubelets: [place(kubelet.cgroup.path)],
    ztunnels: [place(world.ztunnel.pod.cgroup.path)],
    rewritten: [place(pod.cgroup.path)],
    held: [place(pod.cgroup.path)],
    refused: [],
    capturesDns: true,
    probesFromHost: false,
    ztunnelByMark: false,
    ...more,
  });
  const plan = (more?: Partial<Needs>): AttachPlan => attachPlan(needs(more));
  const everywhere = (): AttachPlan => plan({ mode: 'node' });

  /** What an agent does in each pass. */
  function change(to: AttachPlan): void {
    expect(mesh.datapath.attach(to).failures).toEqual([]);
    mesh.datapath.detachOthers(to);
  }

  /** By program, the paths at which the kernel has it, of the cgroups that plans have. */
  function attached(): Record<string, string[]> {
    using object = openObject(OBJECT);
    const { podsParents, kubelets, ztunnels, rewritten } = needs();
    const places = [root(), ...podsParents, ...kubelets, ...ztunnels, ...rewritten].map(({ path }) => path);
    const found: Record<string, string[]> = {};
    for (const { name, attachType } of object.programDefinitions()) {
      if (!PROGRAMS.includes(name)) continue;
      for (const path of places)
        for (const program of queryCgroup(path, attachType).programs)
          if (program.name === nameInKernel(name)) (found[name] ??= []).push(path);
    }
    return found;
  }
  const pathsOf = (of: AttachPlan): Record<string, string[]> =>
    Object.fromEntries([...of].map(([program, at]) => [program, at.map(({ path }) => path).toSorted()]));
  const sorted = (all: Record<string, string[]>): Record<string, string[]> =>
    Object.fromEntries(Object.entries(all).map(([program, paths]) => [program, paths.toSorted()]));

  async function checkConnections(): Promise<void> {
    const { remote } = mesh.node;
    for (const to of [endpoint(remote.ip4, 80), endpoint(remote.ip6, 80), `[::ffff:${remote.ip4}]:80`]) {
      const out = await pod.dial(to);
      expect(out).toMatchObject({ ok: true, peername: to, hops: [{ by: 'ztunnel', port: 15001 }, { by: 'remote' }] });
    }
    for (const ip of pod.ips) {
      const to = endpoint(ip, 80);
      expect((await remote.dial(to)).hops).toMatchObject([{ by: 'ztunnel', port: 15006 }, { by: 'default/a' }]);
      expect((await kubelet.dial(to)).hops).toMatchObject([{ by: 'default/a' }]);
      expect((await pod.dial(to)).hops).toMatchObject([{ by: 'default/a' }]);
    }
    await expect.poll(() => [world.exemptTuples(), mesh.handoffs()]).toEqual([0, 0]);
  }

  async function checkDns(): Promise<void> {
    const { remote } = mesh.node;
    for (const [ip, type] of [
      [remote.ip4, 'A'],
      [remote.ip6, 'AAAA'],
    ] as const) {
      const server = endpoint(ip, 53);
      expect(await pod.resolve({ server: ip, type })).toMatchObject({ by: 'ztunnel', from: server });
      expect(await pod.resolve({ server: ip, type, connected: true })).toMatchObject({
        by: 'ztunnel',
        peername: server,
      });
    }
  }

  it('see every connection that they saw at the root', async () => {
    mesh.enrol(pod, WorkloadFlag.IN_POD | WorkloadFlag.DNS_CAPTURE);
    mesh.apply();
    change(plan());
    expect(sorted(attached())).toEqual(pathsOf(plan()));
    await checkConnections();
    await checkDns();
    // A ztunnel that begins to listen is captured.
    const late = await world.pod({ name: 'late', serve: [80] });
    expect((await mesh.node.remote.dial(endpoint(late.ip4, 80))).hops).toMatchObject([
      { by: 'ztunnel', port: 15006 },
      { by: 'default/late' },
    ]);
  });

  it('are attached once: again nothing is done, and what somebody detached is put back', async () => {
    change(plan());
    const result = mesh.datapath.attach(plan());
    expect(result).toEqual({ attached: [], updated: [], failures: [] });
    expect(mesh.datapath.detachOthers(plan())).toEqual([]);
    {
      using link = BpfLink.openPinned(linkPin(mesh.pinDirectory, 'sluice_connect4', kubepods().id));
      link.detach();
    }
    expect(mesh.datapath.attach(plan()).attached).toEqual([{ program: 'sluice_connect4', cgroupId: kubepods().id }]);
    await checkConnections();
  });

  it('can run twice in one call', async () => {
    mesh.enrol(pod, WorkloadFlag.IN_POD | WorkloadFlag.DNS_CAPTURE);
    mesh.apply();
    // Nothing is detached: the programs at the root stay, and run after those below it.
    expect(mesh.datapath.attach(plan()).failures).toEqual([]);
    await checkConnections();
    await checkDns();
    const { remote } = mesh.node;
    const server = endpoint(remote.ip4, 53);
    expect(await pod.resolve({ server: remote.ip4, protocol: 'tcp' })).toMatchObject({ by: 'ztunnel', from: server });
    // What was sent elsewhere is remembered for one connection only.
    const unserved = await mesh.node.pod({ name: 'unserved', serve: [80] });
    world.enrol(unserved);
    const again = await unserved.dial(endpoint(remote.ip4, 80), { second: endpoint(unserved.ip4, 80) });
    expect(again).toMatchObject({ error: 'ECONNREFUSED', second: { hops: [{ by: 'default/unserved' }] } });
  });

  it('move while connections are made, and no connection is lost, direct, or without its destination', async () => {
    const { remote } = mesh.node;
    const out = await pod.load([endpoint(remote.ip4, 80), endpoint(remote.ip6, 80)]);
    const into = await remote.load(pod.ips.map((ip) => endpoint(ip, 80)));
    // A kubelet that leaves the root cgroup, a pod that is captured another way, the first pod of a node, all at once.
    const plans = [everywhere(), plan(), plan({ kubelets: [root()] }), plan({ podsParents: [] }), plan()];
    for (let round = 0; round < 20; round++)
      for (const next of plans) {
        change(next);
        expect(sorted(attached())).toEqual(pathsOf(next));
        await Promise.all([out.progress(1), into.progress(1)]);
      }
    for (const load of [out, into]) {
      const summary = await load.stop();
      expect(summary).toMatchObject({ ...NOTHING_LOST, redirected: summary.attempts });
    }
    await checkConnections();
  });

  it('take over what an earlier version had at the root, while connections are made', async () => {
    for (const program of PROGRAMS) {
      using link = BpfLink.openPinned(linkPin(mesh.pinDirectory, program, root().id));
      link.unpin();
      link.pin(`${mesh.pinDirectory}/links/${program}`);
    }
    const { remote } = mesh.node;
    const out = await pod.load([endpoint(remote.ip4, 80), endpoint(remote.ip6, 80)]);
    const into = await remote.load(pod.ips.map((ip) => endpoint(ip, 80)));
    mesh.datapath.close();
    mesh.datapath = Datapath.open({ pinDirectory: mesh.pinDirectory, cgroup: mesh.node.cgroup.path });
    mesh.apply();
    const { attached: there, updated } = mesh.datapath.activate(plan());
    expect(updated).toHaveLength(PROGRAMS.length);
    expect(there.map(({ program }) => program)).toEqual(expect.arrayContaining(['sluice_connect4', 'sluice_bind6']));
    expect(sorted(attached())).toEqual(pathsOf(plan()));
    await Promise.all([out.progress(10), into.progress(10)]);
    for (const load of [out, into]) {
      const summary = await load.stop();
      expect(summary).toMatchObject({ ...NOTHING_LOST, redirected: summary.attempts });
    }
    expect(readdirSync(`${mesh.pinDirectory}/links`).filter((name) => PROGRAMS.includes(name))).toEqual([]);
    await checkConnections();
  });

  it('are replaced one after the other where another program runs before its place in the list', async () => {
    using foreign = openObject(OBJECT);
    foreign.load();
    const preordered = foreign.program('sluice_bind4');
    const at = root().path;
    try {
      attachCgroupExclusively(preordered, at, 66);
    } catch {
      return; // this kernel has no such order
    }
    const ids = (effective: boolean): number[] =>
      queryCgroup(at, 'cgroup_inet4_bind', effective).programs.map(({ id }) => id);
    const former = ids(false)[0];
    expect(ids(false)).toEqual([former, preordered.id]);
    expect(ids(true)).toEqual([preordered.id, former]);
    mesh.datapath.close();
    mesh.datapath = Datapath.open({ pinDirectory: mesh.pinDirectory, cgroup: at });
    mesh.apply();
    expect(mesh.datapath.activate().updated).toHaveLength(PROGRAMS.length);
    const after = ids(false);
    expect(after).toHaveLength(2);
    expect(after).not.toContain(former);
    // Ours is behind the other one now, as one that is new.
    expect(after[0]).toBe(preordered.id);
    expect(ids(true)).toEqual(after);
    expect(readdirSync(`${mesh.pinDirectory}/links`).filter((name) => name.endsWith('-next'))).toEqual([]);
    await checkConnections();
  });

  it('leave out a cgroup that is gone, and forget its links', async () => {
    change(plan());
    const gone = needs();
    await pod.delete();
    const links = (): string[] => readdirSync(`${mesh.pinDirectory}/links`);
    expect(links()).toContain(`sluice_sockops-${gone.rewritten[0]?.id}`);
    mesh.datapath.attach(attachPlan(gone));
    mesh.datapath.detachOthers(attachPlan(gone));
    expect(links()).not.toContain(`sluice_sockops-${gone.rewritten[0]?.id}`);
    const result = mesh.datapath.attach(attachPlan(gone));
    expect(result).toEqual({ attached: [], updated: [], failures: [] });
  });

  it('of a kubelet in the root cgroup let its probes pass', async () => {
    kubelet = await mesh.node.hostProcess('k3s', '');
    mesh.setKubelet(kubelet);
    mesh.apply();
    const ofRoot = plan({ kubelets: [root()] });
    change(ofRoot);
    expect(pathsOf(ofRoot)).toMatchObject({ sluice_connect4: [root().path], sluice_sockops: [root().path] });
    await checkConnections();
  });

  it('that cannot be attached to one cgroup are named, and the others are attached', () => {
    const occupied = mesh.node.cgroup.child('occupied');
    using foreign = openObject(OBJECT);
    foreign.load();
    attachCgroupExclusively(foreign.program('sluice_sockops'), occupied.path);
    const wanted = plan({ rewritten: [place(pod.cgroup.path), place(occupied.path)] });
    const { attached: there, failures } = mesh.datapath.attach(wanted);
    expect(failures).toMatchObject([{ program: 'sluice_sockops', cgroupId: occupied.id, error: { kind: 'attach' } }]);
    expect(failures[0]?.error.message).toContain(`sluice_sockops could not be attached to ${occupied.path}: `);
    expect(there.length).toBe([...wanted.values()].flat().length - 1);
  });
});

describe.skipIf(need.skip).each(['before', 'after'] as const)(
  `a load balancer at the root, attached %s ours${need.label}`,
  (when) => {
    let foreign: ForeignPrograms;
    let world: InPodNode;
    let pod: Pod;

    beforeEach(async () => {
      foreign = new ForeignPrograms();
      const node = await TestNode.create();
      if (when === 'before') foreign.attachCgroup(node.cgroup.path);
      world = await InPodNode.on(await MeshedNode.on(node, node.cgroup.path));
      pod = await world.pod({ name: 'a', serve: [80] });
      const plan = attachPlan({
        mode: 'inPod',
        root: place(node.cgroup.path),
        podsParents: [place(node.cgroup.child('kubepods').path)],
        kubelets: [],
        ztunnels: [place(world.ztunnel.pod.cgroup.path)],
        rewritten: [place(pod.cgroup.path)],
        held: [],
        refused: [],
        capturesDns: false,
        probesFromHost: false,
        ztunnelByMark: false,
      });
      expect(world.mesh.datapath.attach(plan).failures).toEqual([]);
      world.mesh.datapath.detachOthers(plan);
      if (when === 'after') foreign.attachCgroup(node.cgroup.path);
    });
    afterEach(async () => {
      await world?.close();
      foreign?.close();
    });

    it.each(['ip4', 'ip6'] as const)('translates after ours: ztunnel gets the service (%s)', async (family) => {
      const { remote } = world.mesh.node;
      const service = endpoint(SERVICE[family], 80);
      const result = await pod.dial(service);
      expect(result).toMatchObject({ ok: true, peername: service });
      expect(result.hops).toMatchObject([
        { by: 'ztunnel', port: 15001, originalDst: service },
        { by: 'remote', local: endpoint(remote[family], 80) },
      ]);
    });
  },
);
