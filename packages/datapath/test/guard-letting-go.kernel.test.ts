// The listeners of held pods: who lets them go, when, and what they are like afterwards.
import { execFileSync } from 'node:child_process';
import { Netns } from '@sluice/linux';
import { requires, type Pod } from '@sluice/testbed';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { WorkloadFlag, type PodEvent } from '../src/index.js';
import { GuardedNode, PodProcess, canRefuseListen, clientIn, type GuardedPod } from './guarded-node.js';
import { levelOf } from './meshed-node.js';

/** Of the pod in which the listeners are. */
const LINK_LOCAL = 'fe80::77';

const need = requires('root', 'bpf', 'cgroup2', 'netns');
const refusing = canRefuseListen
  ? { skip: false, label: '' }
  : { skip: true, label: ' [skipped: needs a kernel that lets programs answer for its functions]' };

describe.skipIf(need.skip)(`the listeners of held pods${need.label}`, () => {
  let world: GuardedNode;
  let home: Pod;
  let netns: Netns;
  let elsewhere: Pod;
  let client: PodProcess;
  let held: GuardedPod;
  let port = 9000;

  beforeAll(async () => {
    world = await GuardedNode.create();
    home = await world.mesh.node.pod({ name: 'home' });
    elsewhere = await world.mesh.node.pod({ name: 'elsewhere' });
    client = await clientIn(world, elsewhere);
    netns = Netns.open(home.netns);
    const address = [`${LINK_LOCAL}/64`, 'dev', 'eth0', 'nodad'];
    execFileSync('nsenter', [`--net=${home.netns}`, 'ip', 'address', 'add', ...address]);
  });
  afterAll(async () => {
    netns?.close();
    await world?.close();
  });
  beforeEach(async () => {
    held = await world.pod({ netns: home.netns });
  });
  afterEach(() => held.process.stop());

  const nextPort = (): number => (port += 1);
  const loopback6 = '::1';

  it.each([
    ['every IPv4 address', '0.0.0.0', [], [4]],
    ['one IPv4 address', 'ip4', [], [4]],
    ['every address of both families', '::', [], [4, 6]],
    ['every IPv6 address', '::', ['v6only'], [6]],
    ['one IPv6 address', 'ip6', [], [6]],
    ['every address, MPTCP', '::', ['mptcp'], [4, 6]],
    ['every address, with SO_REUSEPORT', '::', ['reuseport'], [4, 6]],
    ['one IPv6 address, with SO_REUSEPORT', 'ip6', ['reuseport'], [6]],
  ] as const)('at %s are reachable when the pod has been decided about', async (_name, at, options, families) => {
    const number = nextPort();
    const address = { ip4: home.ip4, ip6: home.ip6 }[at as string] ?? at;
    const id = await held.process.listen(address, number, options);
    const ips = families.map((family) => (family === 4 ? home.ip4 : home.ip6));
    for (const ip of ips) expect(await client.dial(ip, number)).toBe('ECONNREFUSED');
    // The device of an MPTCP socket is not that of its subflow.
    const device = async (): Promise<string | undefined> =>
      options.some((option) => option === 'mptcp') ? undefined : held.process.run('device', id);
    expect(['ok lo', undefined]).toContain(await device());
    // As long as nobody has decided, nobody lets them go.
    expect(world.guard.letGo(netns)).toBe(0);
    for (const ip of ips) expect(await client.dial(ip, number)).toBe('ECONNREFUSED');
    world.decide(held);
    for (const ip of ips) expect(await client.dial(ip, number)).toBe('ECONNREFUSED');
    expect(world.guard.letGo(netns)).toBe(1);
    for (const ip of ips) expect(await client.dial(ip, number)).toBe(`ok ${id}`);
    expect(['ok ', undefined]).toContain(await device());
    expect(world.guard.letGo(netns)).toBe(0);
  });

  it.each(['known', 'unknown'])(
    'are held, too, while the pod is pending and not captured, with its namespace %s',
    async (namespace) => {
      const [before, after] = [nextPort(), nextPort()];
      const first = await held.process.listen('::', before);
      world.want(held, namespace === 'known' ? netns.cookie : undefined);
      expect(world.guard.letGo(netns)).toBe(0);
      const second = await held.process.listen('0.0.0.0', after);
      for (const number of [before, after]) expect(await client.dial(home.ip4, number)).toBe('ECONNREFUSED');
      world.guard.setReachable([[held.id, namespace === 'known' ? netns.cookie : 0n]]);
      expect(world.guard.letGo(netns)).toBe(2);
      expect(await client.dial(home.ip4, before)).toBe(`ok ${first}`);
      expect(await client.dial(home.ip4, after)).toBe(`ok ${second}`);
      const third = await held.process.listen('0.0.0.0', nextPort());
      expect(await held.process.run('device', third)).toBe('ok ');
      world.mesh.apply();
    },
  );

  it('are held in a namespace that is not the one in which the pod is captured, until that is known to be nested', async () => {
    using other = Netns.open(elsewhere.netns);
    const [before, after] = [nextPort(), nextPort()];
    const { IN_POD, AMBIENT, NESTED } = WorkloadFlag;
    const info = { id: held.id, inMesh: true, ip: undefined, flags: AMBIENT | IN_POD, detectedFlags: 1 };
    const { desired } = world.mesh;
    const apply = (flags: number): void => {
      const netns = new Map([...desired.netns, ...(flags === 0 ? [] : [[other.cookie, { ...info, flags }] as const])]);
      const cgroups = new Map([...desired.cgroups, [held.id, info]]);
      const settings = { ...desired.settings, cgroupLevels: [levelOf(held.cgroup.path)] };
      expect(world.mesh.datapath.apply({ ...desired, cgroups, netns, settings }).failures).toEqual([]);
    };
    apply(0);
    world.guard.setReachable([[held.id, netns.cookie]]);
    const moved = await PodProcess.start({ cgroup: held.container.path, netns: elsewhere.netns });
    const neighbour = await clientIn(world, home);
    const first = await moved.listen('::', before);
    expect(await neighbour.dial(elsewhere.ip4, before)).toBe('ECONNREFUSED');
    expect(world.guard.letGo(other)).toBe(0);
    apply(AMBIENT | NESTED);
    expect(world.guard.letGo(other)).toBe(1);
    expect(await neighbour.dial(elsewhere.ip4, before)).toBe(`ok ${first}`);
    const second = await moved.listen('0.0.0.0', after);
    expect(await neighbour.dial(elsewhere.ip4, after)).toBe(`ok ${second}`);
    world.mesh.apply();
    await Promise.all([moved, neighbour].map((process) => process.stop()));
  });

  it('are let go all at once, and those of other pods in the same namespace stay held', async () => {
    const other = await world.pod({ netns: home.netns });
    const ports = Array.from({ length: 8 }, nextPort);
    for (const number of ports) await held.process.listen(number % 2 === 0 ? '0.0.0.0' : '::', number);
    const elsewhere = nextPort();
    await other.process.listen('::', elsewhere);
    world.decide(held);
    expect(world.guard.letGo(netns)).toBe(ports.length);
    for (const number of ports) expect(await client.dial(home.ip4, number)).toMatch(/^ok/);
    expect(await client.dial(home.ip4, elsewhere)).toBe('ECONNREFUSED');
    world.decide(other);
    expect(world.guard.letGo(netns)).toBe(1);
    expect(await client.dial(home.ip4, elsewhere)).toMatch(/^ok/);
    await other.process.stop();
  });

  it('with SO_REUSEPORT share connections as without the guard', async () => {
    const number = nextPort();
    const members = [];
    for (let i = 0; i < 3; i++) members.push(await held.process.listen('0.0.0.0', number, ['reuseport']));
    expect(await client.dial(home.ip4, number)).toBe('ECONNREFUSED');
    world.decide(held);
    expect(world.guard.letGo(netns)).toBe(members.length);
    const answered = new Set<string>();
    // By the kernel's hash of the client's port: each of them answers one in three.
    while (answered.size < members.length) answered.add(await client.dial(home.ip4, number));
    expect([...answered].toSorted()).toEqual(members.map((id) => `ok ${id}`));
  });

  it('that begin after the decision are not held, and the agent hears of those that were bound before', async () => {
    const events: PodEvent[] = [];
    const reader = world.guard.events((batch) => events.push(...batch));
    try {
      const [plain, shared] = [nextPort(), nextPort()];
      const first = await held.process.bind('0.0.0.0', plain);
      const second = await held.process.bind('0.0.0.0', shared, ['reuseport']);
      world.decide(held);
      expect(world.guard.letGo(netns)).toBe(0);
      for (const id of [first, second]) expect(await held.process.run('listen', id)).toBe('ok');
      expect(await client.dial(home.ip4, plain)).toBe(`ok ${first}`);
      await expect
        .poll(() => events.filter(({ kind }) => kind === 'listener-late'))
        .toEqual([{ kind: 'listener-late', cgroupId: held.id, netnsCookie: netns.cookie }]);
      expect(world.guard.letGo(netns)).toBe(1);
      expect(await client.dial(home.ip4, shared)).toBe(`ok ${second}`);
    } finally {
      reader.close();
    }
  });

  it('get back the device that they were bound to', async () => {
    const number = nextPort();
    const id = await held.process.socket('0.0.0.0');
    expect(await held.process.run('set', id, 'device', 'eth0')).toBe('ok');
    expect(await held.process.run('bind', id, '0.0.0.0', number)).toBe('ok');
    expect(await held.process.run('listen', id)).toBe('ok');
    expect(await held.process.run('device', id)).toBe('ok lo');
    world.decide(held);
    expect(world.guard.letGo(netns)).toBe(1);
    expect(await held.process.run('device', id)).toBe('ok eth0');
    expect(await client.dial(home.ip4, number)).toBe(`ok ${id}`);
  });

  it('cannot be bound to a device by a process that cannot be held for it', async () => {
    expect(await held.process.run('setuid', 65_534)).toBe('ok');
    const id = await held.process.socket('0.0.0.0');
    expect(await held.process.run('set', id, 'device', 'eth0')).toBe('ok');
    expect(await held.process.run('bind', id, '0.0.0.0', nextPort())).toBe('EPERM');
    // All others of such a process are held like anybody's.
    const number = nextPort();
    const plain = await held.process.listen('0.0.0.0', number);
    expect(await client.dial(home.ip4, number)).toBe('ECONNREFUSED');
    world.decide(held);
    expect(world.guard.letGo(netns)).toBe(1);
    expect(await client.dial(home.ip4, number)).toBe(`ok ${plain}`);
  });

  describe('of a process without CAP_NET_RAW', () => {
    beforeEach(async () => {
      expect(await held.process.run('setuid', 65_534)).toBe('ok');
    });

    it.each([
      ['TCP', []],
      ['TCP with a shared port', ['reuseport']],
      ['MPTCP', ['mptcp']],
    ] as const)('stay on the loopback, whatever it does: %s', async (_name, options) => {
      const number = nextPort();
      const id = await held.process.listen('0.0.0.0', number, options);
      for (const way of ['device', 'ifindex'] as const)
        expect(await held.process.run('set', id, way, 'eth0')).toBe('EPERM');
      expect(await held.process.run('listen', id)).toBe('ok');
      expect(await client.dial(home.ip4, number)).toBe('ECONNREFUSED');
      world.decide(held);
      expect(world.guard.letGo(netns)).toBe(1);
      expect(await client.dial(home.ip4, number)).toBe(`ok ${id}`);
    });

    describe.skipIf(refusing.skip)(`are refused where they could not be held${refusing.label}`, () => {
      /** Nobody reaches it, and `listen()` fails until the pod has been decided about. */
      async function refused(id: number, ip: string, number?: number): Promise<void> {
        expect(await held.process.run('listen', id)).toBe('EPERM');
        world.decide(held);
        expect(await held.process.run('listen', id)).toBe('ok');
        expect(await client.dial(ip, number ?? (await held.process.portOf(id)))).toBe(`ok ${id}`);
      }

      it.each([
        ['by its name', '0.0.0.0', [], 'device'],
        ['by its index', '::', [], 'ifindex'],
        ['of MPTCP', '::', ['mptcp'], 'device'],
        ['that shares its port', 'ip6', ['reuseport'], 'device'],
        ['by a link-local address', LINK_LOCAL, [], undefined],
      ] as const)('bound to a device after bind(): %s', async (_name, at, options, way) => {
        const [number, address] = [nextPort(), at === 'ip6' ? home.ip6 : at];
        const id = await held.process.bind(address, number, options);
        if (way !== undefined) expect(await held.process.run('set', id, way, 'eth0')).toBe('ok');
        await refused(id, at === LINK_LOCAL ? at : at === '0.0.0.0' ? home.ip4 : home.ip6, number);
      });

      it.each([
        ['IPv4', '0.0.0.0', []],
        ['IPv6', '::', []],
        ['MPTCP', '::', ['mptcp']],
      ] as const)('never bound: %s', async (_name, at, protocol) => {
        const id = await held.process.socket(at, ...protocol);
        await refused(id, at === '0.0.0.0' ? home.ip4 : home.ip6);
      });

      it('of a socket that was connected', async () => {
        const number = nextPort();
        const listener = await held.process.listen('::', number);
        expect(await held.process.run('keep')).toBe('ok');
        const inside = await PodProcess.start({ cgroup: held.container.path, netns: home.netns });
        const dialled = await inside.socket('::');
        expect(await inside.run('connect', dialled, loopback6, number)).toBe('ok');
        const accepted = listener + 1;
        expect(await held.process.run('device', accepted)).toBe('ok lo');
        for (const [process, id] of [
          [held.process, accepted],
          [inside, dialled],
        ] as const) {
          expect(await process.run('disconnect', id)).toBe('ok');
          expect(await process.run('listen', id)).toBe('EPERM');
        }
        await inside.stop();
      });
    });
  });

  it('are held although they were bound to a device after bind(), by a process that may take them from it', async () => {
    const number = nextPort();
    const id = await held.process.bind('0.0.0.0', number);
    expect(await held.process.run('set', id, 'device', 'eth0')).toBe('ok');
    expect(await held.process.run('listen', id)).toBe('ok');
    expect(await client.dial(home.ip4, number)).toBe('ECONNREFUSED');
    world.decide(held);
    expect(world.guard.letGo(netns)).toBe(1);
    expect(await held.process.run('device', id)).toBe('ok eth0');
    expect(await client.dial(home.ip4, number)).toBe(`ok ${id}`);
  });

  it('of pods that are in no namespace of the mesh are anything that the kernel allows', async () => {
    const free = await world.pod({ namespace: 'other', netns: home.netns });
    expect(await free.process.run('setuid', 65_534)).toBe('ok');
    const unbound = await free.process.socket('::');
    const number = nextPort();
    const bound = await free.process.bind('0.0.0.0', number);
    expect(await free.process.run('set', bound, 'device', 'eth0')).toBe('ok');
    for (const id of [unbound, bound]) expect(await free.process.run('listen', id)).toBe('ok');
    expect(await client.dial(home.ip4, number)).toBe(`ok ${bound}`);
    expect(await client.dial(home.ip4, await free.process.portOf(unbound))).toBe(`ok ${unbound}`);
    await free.process.stop();
  });

  it('are not held with the policy open, and those that are can be let go', async () => {
    const [before, after] = [nextPort(), nextPort()];
    const first = await held.process.listen('::', before);
    const setPolicy = (unknown: 'hold' | 'open'): void => {
      world.mesh.settings = { ...world.mesh.settings, unknown };
      world.mesh.apply();
    };
    setPolicy('open');
    try {
      const second = await held.process.listen('::', after);
      expect(await client.dial(home.ip4, after)).toBe(`ok ${second}`);
      const unbound = await held.process.socket('::');
      expect(await held.process.run('listen', unbound)).toBe('ok');
      expect(await client.dial(home.ip4, before)).toBe('ECONNREFUSED');
      expect(world.guard.letGo(netns)).toBe(1);
      expect(await client.dial(home.ip4, before)).toBe(`ok ${first}`);
      const at = nextPort();
      await client.listen('::', at);
      expect(await held.process.dial(elsewhere.ip4, at)).toMatch(/^ok/);
    } finally {
      setPolicy('hold');
    }
  });

  describe('with the policy open', () => {
    const reopen = (unknown: 'hold' | 'open'): void => {
      world.guard.close();
      world.guard = world.openGuard({ unknown });
    };
    beforeEach(() => reopen('open'));
    afterEach(() => reopen('hold'));

    it('are held nowhere and refused nowhere, also when an older agent has followed that does not know the policy', async () => {
      // Its settings have no such bit.
      expect(world.mesh.settings.unknown).toBe('hold');
      const [plain, bound] = [nextPort(), nextPort()];
      const first = await held.process.listen('::', plain);
      expect(await client.dial(home.ip4, plain)).toBe(`ok ${first}`);
      expect(await held.process.run('setuid', 65_534)).toBe('ok');
      const onDevice = await held.process.bind('0.0.0.0', bound);
      expect(await held.process.run('set', onDevice, 'device', 'eth0')).toBe('ok');
      const unbound = await held.process.socket('::');
      for (const id of [onDevice, unbound]) expect(await held.process.run('listen', id)).toBe('ok');
      expect(await client.dial(home.ip4, bound)).toBe(`ok ${onDevice}`);
      expect(await client.dial(home.ip4, await held.process.portOf(unbound))).toBe(`ok ${unbound}`);
    });
  });

  it('stay reachable from inside the pod all the while', async () => {
    const number = nextPort();
    const id = await held.process.listen('::', number);
    const inside = await PodProcess.start({ cgroup: held.container.path, netns: home.netns });
    const reach = async (): Promise<void> => {
      for (const ip of ['127.0.0.1', loopback6]) expect(await inside.dial(ip, number)).toBe(`ok ${id}`);
    };
    await reach();
    world.decide(held);
    await reach();
    world.guard.letGo(netns);
    await reach();
    await inside.stop();
  });
});
