// Where programs are attached: who needs what, and never one program twice in the path of a call.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  REFUSE,
  attachPlan,
  everythingAt,
  isWithin,
  type AttachPlan,
  type Needs,
  type Place,
} from '../src/attach-plan.js';
import { PROGRAMS } from '../src/layout.js';

let lastId = 1n;
const place = (path: string): Place => ({ path, id: lastId++ });

const root = place('/cg');
const kubepods = place('/cg/kubepods.slice');
const otherParent = place('/cg/kubelet.slice/kubelet-kubepods.slice');
const kubelet = place('/cg/system.slice/kubelet.service');
const ztunnel = place('/cg/kubepods.slice/kubepods-podz.slice');
const meshed = place('/cg/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-poda.slice');

const inPod: Needs = {
  mode: 'inPod',
  root,
  podsParents: [kubepods],
  kubelets: [kubelet],
  ztunnels: [ztunnel],
  rewritten: [],
  held: [],
  refused: [],
  capturesDns: false,
  probesFromHost: false,
  ztunnelByMark: false,
};

/** Without the family, as both have the same places. */
function pathsOf(plan: AttachPlan): Record<string, readonly string[]> {
  const named = [...plan].map(([program, places]) => [program, places.map(({ path }) => path)] as const);
  for (const [program, paths] of named)
    if (program.endsWith('4')) expect(plan.get(program.replace(/4$/, '6'))?.map(({ path }) => path)).toEqual(paths);
  return Object.fromEntries(
    named
      .filter(([program]) => !program.endsWith('6'))
      .map(([program, paths]) => [program.slice(7).replace(/4$/, ''), paths]),
  );
}

const everythingButHold = new Map([...everythingAt(root)].filter(([program]) => program !== 'sluice_hold'));

describe('the plan', () => {
  it('of node mode has everything at the configured cgroup', () => {
    expect(attachPlan({ ...inPod, mode: 'node' })).toEqual(everythingButHold);
    expect([...everythingAt(root).keys(), ...REFUSE].toSorted()).toEqual([...PROGRAMS].toSorted());
  });

  it('of inPod mode with capture by route: the decision above pods and kubelet, ports above pods, the rest at ztunnel', () => {
    expect(pathsOf(attachPlan(inPod))).toEqual({
      connect: [kubepods.path, kubelet.path],
      sockops: [ztunnel.path, kubelet.path],
      bind: [kubepods.path],
      listen: [kubepods.path],
    });
  });

  it('of a pod that is captured by a rewritten destination: what carries and answers the original one', () => {
    expect(pathsOf(attachPlan({ ...inPod, rewritten: [meshed] }))).toEqual({
      connect: [kubepods.path, kubelet.path],
      sockops: [meshed.path, ztunnel.path, kubelet.path],
      bind: [kubepods.path],
      listen: [kubepods.path],
      getsockopt: [ztunnel.path],
      getpeername: [kubepods.path],
    });
  });

  it('of a pod whose connections may have to wait: what sends their SYNs again, at the pod alone', () => {
    expect(pathsOf(attachPlan({ ...inPod, held: [meshed] }))).toEqual({
      connect: [kubepods.path, kubelet.path],
      sockops: [ztunnel.path, kubelet.path],
      hold: [meshed.path],
      bind: [kubepods.path],
      listen: [kubepods.path],
    });
  });

  it('of a pod without an entry: what refuses its connections, at the pod alone', () => {
    const { refuse } = pathsOf(attachPlan({ ...inPod, refused: [meshed] }));
    expect(refuse).toEqual([meshed.path]);
    expect(attachPlan({ ...inPod, mode: 'node', refused: [meshed] }).get('sluice_refuse4')).toEqual([meshed]);
  });

  it('of a pod whose DNS is captured', () => {
    expect(pathsOf(attachPlan({ ...inPod, capturesDns: true }))).toEqual({
      connect: [kubepods.path, kubelet.path],
      sockops: [ztunnel.path, kubelet.path],
      bind: [kubepods.path],
      listen: [kubepods.path],
      getpeername: [kubepods.path],
      sendmsg: [kubepods.path],
      recvmsg: [kubepods.path],
      getsockname: [kubepods.path],
    });
  });

  it('of pods below several parents has all of them', () => {
    const { connect } = pathsOf(attachPlan({ ...inPod, podsParents: [kubepods, otherParent] }));
    expect(connect).toEqual([otherParent.path, kubepods.path, kubelet.path]);
  });

  it('of a kubelet in the root cgroup has connect and sockops there, and nowhere below', () => {
    const { connect, sockops, bind } = pathsOf(attachPlan({ ...inPod, kubelets: [root], rewritten: [meshed] }));
    expect([connect, sockops, bind]).toEqual([[root.path], [root.path], [kubepods.path]]);
  });

  it('of a node on which no pod has been seen has the decision and what holds listeners at the configured cgroup', () => {
    expect(pathsOf(attachPlan({ ...inPod, podsParents: [], ztunnels: [] }))).toEqual({
      connect: [root.path],
      sockops: [kubelet.path],
      bind: [root.path],
      listen: [root.path],
    });
  });

  it('of a node whose every process probes has connect and sockops at the configured cgroup', () => {
    const { connect, sockops, bind } = pathsOf(attachPlan({ ...inPod, probesFromHost: true }));
    expect([connect, sockops, bind]).toEqual([[root.path], [root.path], [kubepods.path]]);
  });

  it('of a node on which ztunnel is told by its mark has everything at the configured cgroup', () => {
    expect(attachPlan({ ...inPod, ztunnelByMark: true })).toEqual(everythingButHold);
    const held = attachPlan({ ...inPod, ztunnelByMark: true, held: [meshed] });
    expect(held).toEqual(new Map([...everythingAt(root), ['sluice_hold', [meshed]]]));
  });
});

describe('any plan', () => {
  /** Few names, so that places are often nested or the same. */
  const anyPlace = fc
    .array(fc.constantFrom('a', 'ab', 'b'), { maxLength: 4 })
    .map((names): Place => ({ path: ['/cg', ...names].join('/'), id: BigInt(names.join('').length) }));
  const places = fc.array(anyPlace, { maxLength: 4 });
  const anyNeeds = fc.record({
    mode: fc.constantFrom('node' as const, 'inPod' as const),
    root: fc.constant(root),
    podsParents: places,
    kubelets: places,
    ztunnels: places,
    rewritten: places,
    held: places,
    refused: places,
    capturesDns: fc.boolean(),
    probesFromHost: fc.boolean(),
    ztunnelByMark: fc.boolean(),
  });

  it('has no program at two places of which one is inside the other', () => {
    fc.assert(
      fc.property(anyNeeds, (needs) => {
        for (const [program, at] of attachPlan(needs))
          for (const one of at)
            for (const other of at) expect([program, one === other || !isWithin(one, other)]).toEqual([program, true]);
      }),
    );
  });

  it('covers every need, and only known programs', () => {
    fc.assert(
      fc.property(anyNeeds, (needs) => {
        const plan = attachPlan(needs);
        const covers = (program: string, at: readonly Place[]): void => {
          for (const one of at) expect(plan.get(program)?.some((outer) => isWithin(one, outer))).toBe(true);
        };
        expect(PROGRAMS).toEqual(expect.arrayContaining([...plan.keys()]));
        covers('sluice_connect4', [...needs.podsParents, ...needs.kubelets]);
        covers('sluice_sockops', [...needs.ztunnels, ...needs.kubelets, ...needs.rewritten]);
        covers('sluice_bind6', needs.ztunnels);
        covers('sluice_hold', needs.held);
        for (const program of REFUSE) {
          covers(program, needs.refused);
          const isAsked = (at: Place): boolean => needs.refused.some(({ path }) => path === at.path);
          expect(plan.get(program)?.every(isAsked)).not.toBe(false);
        }
        if (needs.rewritten.length > 0) {
          covers('sluice_getsockopt', needs.ztunnels);
          covers('sluice_getpeername6', needs.podsParents);
        }
        if (needs.capturesDns) {
          covers('sluice_sendmsg4', needs.podsParents);
          covers('sluice_recvmsg6', needs.podsParents);
          covers('sluice_getsockname4', needs.podsParents);
          covers('sluice_getpeername4', needs.podsParents);
        }
        if (needs.mode === 'node') for (const program of everythingButHold.keys()) covers(program, [needs.root]);
      }),
    );
  });

  it('is the same whatever the order of what it is made from', () => {
    fc.assert(
      fc.property(anyNeeds, (needs) => {
        const { podsParents, kubelets, ztunnels, rewritten } = needs;
        const reversed = {
          ...needs,
          podsParents: podsParents.toReversed(),
          kubelets: kubelets.toReversed(),
          ztunnels: ztunnels.toReversed(),
          rewritten: rewritten.toReversed(),
        };
        const ids = (plan: AttachPlan): unknown =>
          [...plan].map(([program, at]) => [program, at.map(({ path }) => path)]);
        expect(ids(attachPlan(reversed))).toEqual(ids(attachPlan(needs)));
      }),
    );
  });
});
