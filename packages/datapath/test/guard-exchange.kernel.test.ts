// An agent takes over with guard's maps of another size, or ends in the middle of it: at every moment whoever is expected is held, wherever
// its cgroup and its log directory come.
import { requires, type Pod } from '@sluice/testbed';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Datapath, type Guard } from '../src/index.js';
import { GuardedNode, MESHED, type GuardedPod, type Order } from './guarded-node.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');

/** What a new agent does one after another. */
const STEPS = ['open', 'pin', 'begin', 'activate', 'end the former'] as const;

interface Agent {
  readonly datapath: Datapath;
  guard?: Guard;
}

describe.skipIf(need.skip)(`the guard is exchanged for one on other maps${need.label}`, () => {
  let world: GuardedNode;
  let home: Pod;
  /** Reached by whoever is not held. */
  let elsewhere: Pod;
  beforeEach(async () => {
    world = await GuardedNode.create();
    home = await world.mesh.node.pod({ name: 'home' });
    elsewhere = await world.mesh.node.pod({ name: 'elsewhere', serve: [80] });
  });
  afterEach(() => world?.close());

  /** Goes on with what the agent has done already. */
  function step(name: (typeof STEPS)[number], agent: Agent | undefined, pods: number): Agent {
    const { mesh, parents } = world;
    if (agent === undefined || name === 'open') {
      const datapath = Datapath.open({
        pinDirectory: mesh.pinDirectory,
        cgroup: mesh.node.cgroup.path,
        capacities: { pods },
      });
      expect(datapath.apply(mesh.desired).failures).toEqual([]);
      return { datapath };
    }
    if (name === 'pin') expect(agent.datapath.pinMaps()).toEqual(new Set());
    if (name === 'begin')
      agent.guard = world.openBeside({ meshedNamespaces: [MESHED], podsParents: parents.map(({ id }) => id) });
    if (name === 'activate') expect(agent.datapath.activate().failures).toEqual([]);
    if (name === 'end the former') agent.guard?.endFormer();
    return agent;
  }

  const close = (agent: Agent | undefined): void => {
    agent?.guard?.close();
    agent?.datapath.close();
  };

  const ORDERS: readonly Order[] = ['directory first', 'cgroup first'];
  const crashes = [undefined, ...STEPS];
  it.each(crashes)('one that crashed after: %s', async (crash) => {
    const first = crash === undefined ? [] : STEPS.slice(0, STEPS.indexOf(crash) + 1);
    const steps = [...first.map((name) => ({ name, pods: 1000 })), ...STEPS.map((name) => ({ name, pods: 2000 }))];
    const complete: GuardedPod[] = [];
    const halves: { readonly uid: string; readonly order: Order }[] = [];
    const allAreHeld = async (): Promise<void> => {
      for (const { process } of complete) expect(await process.dial(elsewhere.ip4, 80)).toBe('ECONNREFUSED');
    };
    /** The other half of those that have one, new ones, and new halves. */
    const come = async (): Promise<void> => {
      for (const { uid, order } of halves.splice(0, Math.ceil(halves.length / 2)))
        complete.push(await world.pod({ netns: home.netns, uid, order }));
      for (const order of ORDERS) {
        complete.push(await world.pod({ netns: home.netns, order }));
        for (let i = 0; i < 4; i++) halves.push({ uid: await world.begin({ order }), order });
      }
      await allAreHeld();
    };
    await come();
    let agent: Agent | undefined;
    for (const { name, pods } of steps) {
      if (name === 'open') close(agent);
      agent = step(name, agent, pods);
      await allAreHeld();
      await come();
    }
    expect(await (await world.pod({ netns: home.netns, namespace: 'other' })).process.dial(elsewhere.ip4, 80)).toMatch(
      /^ok/,
    );
    close(agent);
  });

  it('for one with less room than there are pods', async () => {
    const few = 5;
    const pods: GuardedPod[] = [];
    for (let i = 0; i < 3 * few; i++) pods.push(await world.pod({ netns: home.netns }));
    let agent: Agent | undefined;
    for (const name of STEPS) agent = step(name, agent, few);
    for (const { process } of pods) expect(await process.dial(elsewhere.ip4, 80)).toBe('ECONNREFUSED');
    close(agent);
  });
});
