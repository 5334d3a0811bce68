// What the guard's maps hold of pods that are gone: nothing for long, with an agent or without one. A pod that comes has room, and is held.
import { randomUUID } from 'node:crypto';
import { rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { BpfMap } from '@sluice/libbpf';
import { Cgroup, requires } from '@sluice/testbed';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Datapath, InstalledDatapath } from '../src/index.js';
import { maps } from '../src/generated/maps.js';
import { endLink, guardPin } from '../src/guard/links.js';
import { mapPin } from '../src/layout.js';
import { GuardedNode, MESHED, type Order } from './guarded-node.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');
const CAPACITY = 20;
const ORDERS: readonly Order[] = ['cgroup first', 'directory first'];

describe.skipIf(need.skip)(`pods of the guard that are gone${need.label}`, () => {
  let world: GuardedNode;

  beforeEach(async () => {
    world = await GuardedNode.create();
    const { mesh } = world;
    world.leave();
    mesh.datapath = Datapath.open({
      pinDirectory: mesh.pinDirectory,
      cgroup: mesh.node.cgroup.path,
      capacities: { pods: CAPACITY },
    });
    mesh.apply();
    mesh.datapath.activate();
    open();
  });
  afterEach(() => world?.close());

  const open = (): void => {
    world.guard.close();
    world.guard = world.openGuard({
      meshedNamespaces: [MESHED],
      podsParents: world.parents.map(({ id }) => id),
    });
  };
  const map = (name: 'expected_pods' | 'pod_cgroups' | 'expected_cgroups'): BpfMap =>
    BpfMap.openPinned(mapPin(world.mesh.pinDirectory, name));
  const sizes = (): number[] =>
    (['expected_pods', 'pod_cgroups', 'expected_cgroups'] as const).map((name) => {
      using one = map(name);
      return [...one.keys()].length;
    });
  const isHeld = (id: bigint): boolean => {
    using installed = InstalledDatapath.open(world.mesh.pinDirectory);
    return installed.expected().has(id);
  };
  const remove = ({ cgroup, container }: { cgroup: Cgroup; container: Cgroup }): void => {
    rmdirSync(container.path);
    rmdirSync(cgroup.path);
  };
  const begin = (uid: string): Cgroup => new Cgroup(join(world.mesh.node.cgroup.path, `kubepods/pod${uid}`));
  const here = (...pods: readonly { readonly id: bigint; readonly cgroup: Cgroup }[]): Map<bigint, string> =>
    new Map(pods.map(({ id, cgroup }) => [id, cgroup.path]));
  /** As if all that is expected had been so for an hour; on a machine that runs for less, since a time that no clock of it has shown. */
  const age = (): void => {
    using expected = map('expected_pods');
    const seen = BigInt.asUintN(64, process.hrtime.bigint() - 3_600_000_000_000n);
    for (const key of Array.from(expected.keys())) expected.update(key, maps.expected_pods.encodeValue(seen));
  };

  it.each(ORDERS)('%s: leave nothing', async (order) => {
    const pod = await world.pod({ order });
    expect([isHeld(pod.id), sizes()]).toEqual([true, [0, 1, 1]]);
    remove(pod);
    expect(sizes()).toEqual([0, 0, 0]);
  });

  it('without an agent, take no room from those that come, however many have left a directory behind', async () => {
    world.guard.close();
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom('logs only', 'logs after the end', ...ORDERS), {
          minLength: CAPACITY * 2,
          maxLength: CAPACITY * 3,
        }),
        fc.constantFrom(...ORDERS),
        async (churn, order) => {
          for (const what of churn) {
            const uid = randomUUID();
            if (what === 'logs only') await world.makeLogs(uid);
            else if (what === 'logs after the end') {
              rmdirSync(begin(uid).path);
              await world.makeLogs(uid);
            } else remove(await world.pod({ uid, order: what }));
          }
          const pods = [];
          for (let i = 0; i < CAPACITY; i++) pods.push(await world.pod({ order }));
          expect(pods.filter(({ id }) => !isHeld(id))).toEqual([]);
          for (const pod of pods) remove(pod);
        },
      ),
      { numRuns: 4 },
    );
  });

  it('are forgotten when they have been expected for long and have no cgroup, by this agent and by the next one', async () => {
    const [told, former] = [randomUUID(), randomUUID()];
    const present = new Map<bigint, string>();
    for (const isNext of [false, true]) {
      await world.makeLogs(randomUUID());
      world.guard.setPods({ awaited: [told, former], present, out: [] });
      if (isNext) open();
      world.guard.setPods({ awaited: [told], present, out: [] });
      // Those of the earlier agent and the one whose logs were made may still come.
      expect(sizes()).toEqual([isNext ? 3 : 2, 0, 0]);
      age();
      world.guard.setPods({ awaited: [told], present, out: [] });
      expect(sizes()).toEqual([1, 0, 0]);
    }
    expect(isHeld(begin(told).id)).toBe(true);
  });

  it('are forgotten when the guard was not there at their end, and no other is', async () => {
    const [first, second, stays] = [await world.pod({}), await world.pod({}), await world.pod({})];
    world.guard.close();
    endLink(guardPin(world.mesh.pinDirectory, 'cgroup_rmdir'));
    for (const pod of [first, second]) remove(pod);
    open();
    expect(sizes()).toEqual([0, 3, 3]);
    world.guard.setPods({ awaited: [], present: here(stays), out: [] });
    // A cgroup that was not seen may have come after the look.
    const late = await world.pod({});
    expect(sizes()).toEqual([0, 4, 4]);
    world.guard.setPods({ awaited: [], present: here(stays), out: [] });
    expect([isHeld(late.id), isHeld(stays.id), sizes()]).toEqual([true, true, [0, 2, 2]]);
    world.guard.setPods({ awaited: [], present: here(stays, late), out: [] });
    world.guard.setPods({ awaited: [], present: here(stays), out: [] });
    expect(sizes()).toEqual([0, 2, 2]);
  });

  it('are not expected any more when somebody has decided that they are out, and are not put back as if somebody had deleted them', async () => {
    const [out, others] = [await world.pod({}), [await world.pod({}), await world.pod({})]];
    const present = here(out, ...others);
    world.guard.setPods({ awaited: [], present, out: [] });
    expect(isHeld(out.id)).toBe(true);
    for (let pass = 0; pass < 2; pass++) {
      world.guard.setPods({ awaited: [], present, out: [out.id, 12_345n] });
      expect(world.guard.disturbed()).toEqual([]);
      expect(world.guard.restore()).toEqual([]);
      expect([isHeld(out.id), ...others.map(({ id }) => isHeld(id))]).toEqual([false, true, true]);
    }
    // The kubelet makes the directory anew: the guard expects the pod again, until the next pass.
    rmdirSync(world.logsOf(out.uid));
    await world.makeLogs(out.uid);
    expect(isHeld(out.id)).toBe(true);
    world.guard.setPods({ awaited: [], present, out: [out.id] });
    expect(isHeld(out.id)).toBe(false);
    // What the kernel itself forgets is not put back, either.
    remove(out);
    world.guard.setPods({ awaited: [], present: here(...others), out: [] });
    expect(sizes()).toEqual([0, 2, 2]);
  });
});
