// Who needs the programs, from what the agent sees and has decided.
import { describe, expect, it } from 'vitest';
import { attachPlan } from '@sluice/datapath';
import { discoverZtunnels, LastingNeeds, needsOf } from '../src/index.js';
import { nothingSeen } from '../src/enrolment/capture.js';
import { config, enrolWorld, inventory, pod, workload, ztunnelPod, type World } from './world.js';

const root = { path: '/cg', id: 1n };
const podsParents = [{ path: '/cg/kubepods', id: 2n }];

function needs(over: Partial<World> = {}, waiting: readonly string[] = []) {
  const world: World = {
    pods: [pod('a', { ips: ['10.0.0.2'] }), pod('b', { namespace: 'plain' }), ztunnelPod()],
    workloads: [workload('a', 100n, 7n), workload('b', 200n, 8n), workload('zt', 300n)],
    kubelets: [{ cgroupPath: '/cg/kubelet', cgroupId: 50n, level: 1 }],
    config: config({ mode: 'inPod', capture: 'rewrite' }),
    served: { acknowledged: new Map([['a', 7n]]) },
    ...over,
  };
  const truth = {
    root,
    podsParents,
    kubelets: world.kubelets ?? [],
    workloads: new Map(world.workloads?.map((one) => [one.pod.podUid, one])),
  };
  const settings = world.config ?? config();
  return needsOf(settings, truth, discoverZtunnels(inventory(world.pods ?? []), settings), enrolWorld(world), waiting);
}

describe('the need for programs', () => {
  it('is that of the kubelet, of ztunnel, and of the pods that are captured by a rewritten destination', () => {
    const found = needs();
    expect(found).toMatchObject({ mode: 'inPod', root, podsParents, kubelets: [{ path: '/cg/kubelet', id: 50n }] });
    expect([found.ztunnels, found.rewritten].map((places) => places.map(({ id }) => id))).toEqual([[300n], [100n]]);
  });

  it('is not that of a pod that is captured by route, or will be when ztunnel has acknowledged it', () => {
    const served = {};
    expect(needs({ served }).rewritten).toMatchObject([{ id: 100n }]);
    const expected = { ...nothingSeen, expected: 'transparent' as const };
    expect(needs({ served, config: config({ mode: 'inPod' }), capture: expected }).rewritten).toEqual([]);
    const capture = { ...nothingSeen, prepared: new Set([7n]), listeners: new Map([[7n, 'transparent' as const]]) };
    expect(needs({ config: config({ mode: 'inPod' }), capture }).rewritten).toEqual([]);
    expect(needs({ config: config({ mode: 'inPod' }) }).rewritten.length).toBe(1);
  });

  it('of what makes SYNs be sent again is that of the pods whose connections may have to wait', () => {
    expect(needs().held).toEqual([]);
    expect(needs({}, ['a', 'nobody']).held).toMatchObject([{ id: 100n }]);
  });

  it('ends for a pod that leaves the mesh, and for one whose cgroup is gone', () => {
    const left = needs({ pods: [pod('a', { namespace: 'plain' }), ztunnelPod()] });
    expect([left.rewritten, left.ztunnels.length]).toEqual([[], 1]);
    expect(needs({ workloads: [] })).toMatchObject({ rewritten: [], ztunnels: [] });
  });

  it('of DNS is that of any pod whose DNS is captured', () => {
    expect(needs().capturesDns).toBe(true);
    expect(needs({ config: config({ mode: 'inPod', ambient: { dnsCapture: false } }) }).capturesDns).toBe(false);
  });

  it('follows the settings', () => {
    expect(needs({ config: config({ mode: 'inPod', probes: { exempt: 'host' } }) }).probesFromHost).toBe(true);
    expect(needs({ config: config({ mode: 'inPod', ztunnel: { byMark: true } }) }).ztunnelByMark).toBe(true);
    const plan = attachPlan(needs({ config: config({ mode: 'node' }) }));
    expect([...plan.values()].every((places) => places.length === 1 && places[0] === root)).toBe(true);
  });
});

describe('a need that has ended', () => {
  const rewritten = [{ path: '/cg/kubepods/poda', id: 100n }];
  const before = { ...needs(), rewritten, capturesDns: true };
  const after = { ...before, rewritten: [], capturesDns: false };

  it('lasts for ten seconds more', () => {
    const lasting = new LastingNeeds();
    const present = new Set([100n]);
    expect(lasting.extend(before, present, 0)).toEqual(before);
    expect(lasting.extend(after, present, 10_000)).toEqual(before);
    expect(lasting.extend(after, present, 10_001)).toEqual(after);
  });

  it('ends at once with the pod', () => {
    const lasting = new LastingNeeds();
    lasting.extend(before, new Set([100n]), 0);
    expect(lasting.extend(after, new Set(), 1).rewritten).toEqual([]);
  });
});
