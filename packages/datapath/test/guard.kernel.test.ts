// With no agent: a new pod of a namespace in the mesh neither sends nor receives, and others are left alone.
import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { Cgroup, requires, type Pod } from '@sluice/testbed';
import { Netns } from '@sluice/linux';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { InstalledDatapath } from '../src/index.js';
import {
  GuardedNode,
  MESHED,
  PodProcess,
  canRefuseListen,
  clientIn,
  type GuardedPod,
  type NewPod,
} from './guarded-node.js';

/** Where the hierarchies of cgroup v1 are mounted; none on a machine that has only v2. */
const cgroup1Roots = [...readFileSync('/proc/self/mounts', 'utf8').matchAll(/^\S+ (\S+) cgroup /gm)].map(
  ([, path = '']) => path,
);

const need = requires('root', 'bpf', 'cgroup2', 'netns');

describe.skipIf(need.skip)(`the guard${need.label}`, () => {
  let world: GuardedNode;
  /** Pods of the testbed lend their network namespaces: what it has started in them is in no namespace of the mesh. */
  let home: Pod;
  let elsewhere: Pod;
  let client: PodProcess;
  let port = 8000;

  beforeAll(async () => {
    world = await GuardedNode.create();
    home = await world.mesh.node.pod({ name: 'home' });
    elsewhere = await world.mesh.node.pod({ name: 'elsewhere', serve: [80] });
    client = await clientIn(world, elsewhere);
    await client.listen('0.0.0.0', 90);
    expect(world.guard.missing()).toEqual([]);
    expect(world.guard.attached().includes('refuse_listen')).toBe(canRefuseListen);
    world.leave();
  });
  afterAll(() => world?.close());

  const nextPort = (): number => (port += 1);
  const pod = (spec: NewPod = {}): Promise<GuardedPod> => world.pod({ netns: home.netns, ...spec });
  const expected = (): ReadonlySet<bigint> => {
    using installed = InstalledDatapath.open(world.mesh.pinDirectory);
    return installed.expected();
  };
  const count = (event: 'expected-full' | 'listener-unheld'): bigint => {
    using installed = InstalledDatapath.open(world.mesh.pinDirectory);
    return installed.counters().events[event];
  };

  const kubelets: NewPod[] = (['cgroupfs', 'systemd'] as const).flatMap((style) =>
    (['guaranteed', 'besteffort'] as const).flatMap((qos) =>
      (['directory first', 'cgroup first'] as const).flatMap((order) =>
        (['mkdirat', 'mkdir'] as const).map((by) => ({ style, qos, order, by })),
      ),
    ),
  );

  it.each(kubelets)('holds a new pod: $style, $qos, $order, $by', async (spec) => {
    const held = await pod(spec);
    expect(expected()).toContain(held.id);
    const { process } = held;
    expect(await process.dial(elsewhere.ip4, 90)).toBe('ECONNREFUSED');
    expect(await process.dial(elsewhere.ip6, 90)).toBe('ECONNREFUSED');
    const at = nextPort();
    await process.listen('0.0.0.0', at);
    expect(await client.dial(home.ip4, at)).toBe('ECONNREFUSED');
    const other = await PodProcess.start({ cgroup: held.container.path, netns: home.netns });
    expect(await other.dial('127.0.0.1', at)).toBe('ok 0');
    expect(await other.dial('0.0.0.0', at)).toBe('ok 0');
    // What the pod's own address is nobody has said yet.
    expect(await other.dial(home.ip4, at)).toBe('ECONNREFUSED');
    await process.stop();
    await other.stop();
  });

  it('knows a static pod by the hash of its manifest', async () => {
    for (const style of ['cgroupfs', 'systemd'] as const) {
      const uid = randomUUID().replaceAll('-', '');
      const { id } = await world.pod({ uid, style });
      expect(expected()).toContain(id);
    }
  });

  it('leaves pods of other namespaces alone, and those whose logs it has not seen', async () => {
    for (const namespace of ['other', `${MESHED}-2`, MESHED.slice(0, -1)]) {
      const free = await pod({ namespace });
      expect(expected()).not.toContain(free.id);
      expect(await free.process.dial(elsewhere.ip4, 90)).toBe('ok 0');
      const at = nextPort();
      await free.process.listen('0.0.0.0', at);
      expect(await client.dial(home.ip4, at)).toBe('ok 0');
      await free.process.stop();
    }
    const unseen = new Cgroup(join(world.mesh.node.cgroup.path, `kubepods/pod${randomUUID()}`));
    expect(expected()).not.toContain(unseen.id);
  });

  it('does not take other directories for those of logs', async () => {
    const uid = randomUUID();
    const cgroup = new Cgroup(join(world.mesh.node.cgroup.path, `kubepods/pod${uid}`));
    const { podLogs } = world;
    mkdirSync(`${podLogs}-2`);
    mkdirSync(join(podLogs, 'x'));
    const others = [
      `${podLogs}-2/${MESHED}_cart_${uid}`,
      `${podLogs}/x/${MESHED}_cart_${uid}`,
      `${podLogs}/${MESHED}_cart-${uid}`,
      `${podLogs}/${MESHED}_cart_${uid.slice(1)}`,
      `${podLogs}/${MESHED}_cart_${uid}x`,
      `${podLogs}/_${MESHED}_cart_${uid}`,
      `${podLogs}/${'n'.repeat(70)}_cart_${uid}`,
    ];
    for (const path of others) {
      expect(await world.kubelet.run('mkdirat', path)).toBe('ok');
      expect(expected()).not.toContain(cgroup.id);
    }
    // Documented: what is named from another directory is not seen.
    expect(await world.kubelet.run('mkdirat-in', podLogs, `${MESHED}_cart_${uid}`)).toBe('ok');
    expect(expected()).not.toContain(cgroup.id);
    await world.makeLogs(uid);
    expect(expected()).toContain(cgroup.id);
  });

  it('sees a directory that is there already, such as after a restart of the kubelet', async () => {
    const uid = randomUUID();
    mkdirSync(world.logsOf(uid));
    const cgroup = new Cgroup(join(world.mesh.node.cgroup.path, `kubepods/pod${uid}`));
    expect(expected()).toContain(cgroup.id);
    const again = randomUUID();
    const later = new Cgroup(join(world.mesh.node.cgroup.path, `kubepods/pod${again}`));
    for (const answer of ['ok', 'EEXIST']) expect(await world.kubelet.run('mkdirat', world.logsOf(again))).toBe(answer);
    expect(expected()).toContain(later.id);
  });

  it('believes neither a process in a pod nor one that is not root', async () => {
    const victim = randomUUID();
    const cgroup = new Cgroup(join(world.mesh.node.cgroup.path, `kubepods/pod${victim}`));
    const { process } = await pod({ namespace: 'other' });
    expect(await process.run('mkdirat', world.logsOf(victim))).toBe('ok');
    expect(expected()).not.toContain(cgroup.id);
    const user = await PodProcess.start({ cgroup: world.mesh.node.cgroup.child('system').path, netns: home.netns });
    expect(await user.run('setuid', 65_534)).toBe('ok');
    expect(await user.run('mkdirat', world.logsOf(victim))).toMatch(/^E/);
    expect(expected()).not.toContain(cgroup.id);
    // Nor the cgroups that a pod makes in itself under another pod's name.
    const inside = join(cgroup.path, 'kubepods', `pod${victim}`);
    const owner = await PodProcess.start({ cgroup: join(cgroup.child('a').path), netns: home.netns });
    await world.kubelet.run('mkdirat', world.logsOf(victim));
    expect(await owner.run('mkdir', join(cgroup.path, 'kubepods'))).toBe('ok');
    expect(await owner.run('mkdir', inside)).toBe('ok');
    expect(expected()).toContain(cgroup.id);
    expect(expected()).not.toContain(new Cgroup(inside).id);
    rmdirSync(inside);
    expect(expected()).toContain(cgroup.id);
    for (const each of [process, user, owner]) await each.stop();
  });

  it('holds every process of the pod: nested cgroups, later containers, another network namespace', async () => {
    const held = await pod();
    const places = [
      { cgroup: new Cgroup(join(held.container.path, 'a/b/c')).path, netns: home.netns },
      { cgroup: held.cgroup.child('sidecar').path, netns: home.netns },
      { cgroup: held.container.path, netns: elsewhere.netns },
    ];
    for (const place of places) {
      const process = await PodProcess.start(place);
      expect(await process.dial(world.mesh.node.ip4, 1)).toBe('ECONNREFUSED');
      expect(await process.dial(elsewhere.ip4, 90)).toBe('ECONNREFUSED');
      await process.stop();
    }
    await held.process.stop();
  });

  it('lets nothing out that a device takes from the loopback', async () => {
    const { process } = await pod();
    const at = nextPort();
    await process.listen('::', at);
    for (const [ip, device, answer] of [
      ['127.0.0.1', 'eth0', 'ECONNREFUSED'],
      ['::1', 'eth0', 'ECONNREFUSED'],
      ['127.0.0.1', 'lo', 'ok'],
      ['::1', 'lo', 'ok'],
    ] as const) {
      const id = await process.socket(ip);
      expect(await process.run('set', id, 'device', device)).toBe('ok');
      expect(await process.run('connect', id, ip, at)).toBe(answer);
    }
    await process.stop();
  });

  it('refuses the kubelet, too: a pod that cannot be served is not ready', async () => {
    const { process } = await pod();
    const at = nextPort();
    await process.listen('0.0.0.0', at);
    expect(await world.kubelet.dial(home.ip4, at)).toBe('ECONNREFUSED');
    await process.stop();
  });

  it('forgets a pod whose cgroup is removed, whoever it was', async () => {
    const { uid, id, cgroup, container } = await world.pod({});
    expect(expected()).toContain(id);
    rmdirSync(container.path);
    rmdirSync(cgroup.path);
    expect(expected()).not.toContain(id);
    // The same UID without its log directory: nobody says any more that it is of the mesh.
    const again = new Cgroup(cgroup.path);
    expect(expected()).not.toContain(again.id);
    expect(uid).toHaveLength(36);
  });

  const [hybrid] = cgroup1Roots;
  if (hybrid !== undefined)
    it('looks at the unified hierarchy only', async () => {
      const uid = randomUUID();
      await world.makeLogs(uid);
      const path = join(hybrid, `pod${uid}`);
      const before = expected().size;
      mkdirSync(path);
      try {
        expect(expected().size).toBe(before);
      } finally {
        rmdirSync(path);
      }
      // That it is gone says nothing about the pod either.
      const cgroup = new Cgroup(join(world.mesh.node.cgroup.path, `kubepods/pod${uid}`));
      expect(expected()).toContain(cgroup.id);
    });

  it('loses no pod and holds no other when many come at once', async () => {
    const kubelets = await Promise.all(
      Array.from({ length: 4 }, () =>
        PodProcess.start({ cgroup: world.mesh.node.cgroup.child('kubelet').path, netns: world.mesh.node.netns.path }),
      ),
    );
    await Promise.all(
      kubelets.map(async (kubelet, index) => {
        for (let i = 0; i < 50; i++) {
          const uid = randomUUID();
          const namespace = (i + index) % 2 === 0 ? MESHED : 'other';
          const cgroup = join(world.mesh.node.cgroup.path, `kubepods/pod${uid}`);
          const logs = world.logsOf(uid, namespace);
          // The order in which the kernel does them is not known.
          const other = kubelets[(index + 1) % kubelets.length];
          await Promise.all([kubelet.run('mkdirat', logs), other?.run('mkdir', cgroup)]);
          expect(expected().has(new Cgroup(cgroup).id)).toBe(namespace === MESHED);
          rmdirSync(cgroup);
        }
      }),
    );
    for (const kubelet of kubelets) await kubelet.stop();
  });

  it('counts nothing as lost', () => {
    expect(count('expected-full')).toBe(0n);
    expect(count('listener-unheld')).toBe(0n);
    using netns = Netns.open(home.netns);
    expect(netns.cookie).toBeGreaterThan(0n);
  });
});
