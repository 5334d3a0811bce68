// What the guard's maps hold of pods that are gone, without an agent: nothing for long. A pod that comes has room, and is held.
import { randomUUID } from 'node:crypto';
import { rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { BpfMap } from '@sluice/libbpf';
import { Cgroup, requires } from '@sluice/testbed';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Datapath, InstalledDatapath } from '../src/index.js';
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
});
