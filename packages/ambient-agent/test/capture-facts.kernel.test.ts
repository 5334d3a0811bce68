// What a pass asks before it decides how pods are captured, and what an agent knows of its predecessor.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Datapath } from '@sluice/datapath';
import { requires, TestNode } from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nothingSeen, type AgentState, type WorkloadStatus } from '../src/index.js';
import { captureFacts } from '../src/reconcile/capture-facts.js';
import { ListenerSights } from '../src/reconcile/listener-sights.js';
import { routedBefore } from '../src/state/acknowledged-before.js';
import { config, enrolWorld, pod, workload } from './world.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');

describe.skipIf(need.skip)(`how pods are captured${need.label}`, () => {
  let node: TestNode;
  let bpffs: string;
  let datapath: Datapath;
  beforeAll(async () => {
    node = await TestNode.create({ remotePorts: [], remoteDns: false });
    bpffs = await node.bpffs();
    datapath = Datapath.open({ pinDirectory: `${bpffs}/sluice`, cgroup: node.cgroup.path });
    datapath.activate();
  });
  afterAll(async () => {
    datapath?.close();
    await node?.close();
  });

  const zds = {
    acknowledged: new Map([['a', 7n]]),
    acknowledgedBy: new Map([['a', { connection: 1, pid: 1234 }]]),
    refusals: new Map(),
    isConnected: true,
  };
  const facts = (tree: Record<string, unknown>, looked: number[] = []) => {
    const one = workload('a', 100n, 7n);
    const cgroupPath = node.cgroup.child('kubepods').child('pod1').path;
    return captureFacts(
      {
        config: config({ mode: 'inPod', paths: { bpffs }, ...tree }),
        sights: new ListenerSights(new Set(), (pid) => {
          looked.push(pid);
          return 'transparent';
        }),
        obstacles: new Map([[8n, 'an obstacle']]),
        prepared: new Set([7n]),
      },
      zds,
      { workloads: new Map([['a', { ...one, pod: { ...one.pod, cgroupPath } }]]) },
      false,
    );
  };

  it('is decided by the listener of each pod and the programs above it', () => {
    const looked: number[] = [];
    expect(facts({}, looked)).toEqual({
      obstacles: new Map([[8n, 'an obstacle']]),
      prepared: new Set([7n]),
      listeners: new Map([[7n, 'transparent']]),
      expected: 'transparent',
      foreignConnect: undefined,
    });
    expect(looked).toEqual([1234]);
    using other = Datapath.open({ pinDirectory: `${bpffs}/other`, cgroup: node.cgroup.path });
    other.activate();
    expect(facts({}).foreignConnect).toMatch(/^the program sluice_connect4 \(id \d+, connect4\) at cgroup /);
  });

  it('is not asked where no pod can be captured by route', () => {
    const looked: number[] = [];
    for (const tree of [{ mode: 'node' }, { capture: 'rewrite' }]) expect(facts(tree, looked)).toEqual(nothingSeen);
    expect(looked).toEqual([]);
  });

  it('is read from the maps of an earlier agent, or else from its state', () => {
    const state = {
      workloads: [
        { netnsCookie: '5', capture: { by: 'route' } },
        { netnsCookie: '6', capture: { by: 'rewrite', because: '' } },
        { netnsCookie: '7' },
      ] satisfies Partial<WorkloadStatus>[],
    } as unknown as AgentState;
    expect(routedBefore(`${bpffs}/nowhere`, state)).toEqual(new Set());
    const { desired } = enrolWorld({
      pods: [pod('a', { ips: ['10.0.0.2'] }), pod('b', { ips: ['10.0.0.3'] })],
      workloads: [workload('a', 100n, 7n), workload('b', 200n, 8n)],
      config: config({ mode: 'inPod' }),
      served: {
        acknowledged: new Map([
          ['a', 7n],
          ['b', 8n],
        ]),
        refusals: new Map(),
        remembered: new Map(),
        isConnected: true,
      },
      capture: { ...nothingSeen, prepared: new Set([7n]), listeners: new Map([[7n, 'transparent']]) },
    });
    expect(datapath.apply(desired).failures).toEqual([]);
    expect(routedBefore(bpffs, state)).toEqual(new Set([7n]));
    mkdirSync(join(node.directory, 'sluice'));
    expect(routedBefore(node.directory, state)).toEqual(new Set([5n]));
  });
});
