// What the agent makes of the guard: which namespaces it is told of, whose listeners are let go, what is a hint, and who has not shown a pod.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  LetGo,
  PodHints,
  Sightings,
  expectedNamespaces,
  membership,
  reachablePods,
  type Inventory,
  type WorkloadStatus,
} from '../src/index.js';
import { config, pod } from './world.js';

const UID = '6a8b0a4e-0000-4000-8000-000000000001';

describe('the namespaces that the guard is told of', () => {
  const namespacesOf = (labels: Record<string, Record<string, string>>): Pick<Inventory, 'namespaces'> => ({
    namespaces: new Map(Object.entries(labels).map(([name, own]) => [name, { name, labels: own }])),
  });
  const ambient = { 'istio.io/dataplane-mode': 'ambient' };

  it('are those whose label puts a pod into the mesh that has none of its own', () => {
    const inventory = namespacesOf({
      shop: ambient,
      plain: {},
      none: { 'istio.io/dataplane-mode': 'none' },
      'kube-system': ambient,
    });
    expect(expectedNamespaces(inventory, config({ excludeNamespaces: ['kube-system'] }))).toEqual(['shop']);
    expect(expectedNamespaces(inventory, { enablementSelectors: [], excludeNamespaces: [] })).toEqual([]);
    expect(expectedNamespaces(inventory, { enablementSelectors: [{}], excludeNamespaces: ['plain'] })).toEqual([
      'shop',
      'none',
      'kube-system',
    ]);
  });

  it('are exactly those in which a pod without labels is wanted', () => {
    const label = fc.constantFrom<Record<string, string>>(
      {},
      ambient,
      { 'istio.io/dataplane-mode': 'none' },
      { a: 'b' },
    );
    const selector = fc.record(
      {
        podSelector: fc.constantFrom(
          { matchLabels: ambient },
          { matchExpressions: [{ key: 'istio.io/dataplane-mode', operator: 'NotIn' as const, values: ['none'] }] },
        ),
        namespaceSelector: fc.constantFrom({ matchLabels: ambient }, { matchLabels: { a: 'b' } }),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(
        label,
        fc.array(selector, { maxLength: 3 }),
        fc.boolean(),
        (labels, enablementSelectors, isExcluded) => {
          const settings = config({ enablementSelectors, excludeNamespaces: isExcluded ? ['shop'] : [] });
          const { namespaces } = namespacesOf({ shop: labels });
          const inventory: Inventory = { namespaces, pods: new Map() };
          const wanted = membership(pod('a'), inventory, new Set(), settings).verdict === 'wanted';
          expect(expectedNamespaces(inventory, settings)).toEqual(wanted ? ['shop'] : []);
        },
      ),
    );
  });
});

describe('whose listeners are let go', () => {
  const status = (state: WorkloadStatus['state'], netnsCookie?: string): WorkloadStatus => ({
    uid: UID,
    namespace: 'shop',
    name: 'a',
    ips: [],
    cgroups: [{ path: '/cg/kubepods/poda', id: '7' }],
    role: 'workload',
    state,
    reason: '',
    problems: [],
    ...(netnsCookie === undefined ? {} : { netnsCookie }),
  });
  const inForce = { mode: 'inPod', attached: new Set([9n]), unwritten: new Set<bigint>(), known: new Map() } as const;

  it.each<[string, WorkloadStatus, boolean]>([
    ['a pod that is out', status('out'), true],
    ['a pod in the mesh whose inbound connections are captured', status('in', '9'), true],
    ['a pending pod whose inbound connections are captured', status('pending', '9'), true],
    ['a pending pod without a namespace', status('pending'), false],
    ['a pod in the mesh whose inbound connections are not captured', status('in', '8'), false],
    ['a pod that the inventory does not have', status('unknown'), false],
    ['a pod without a cgroup', { ...status('out'), cgroups: [] }, false],
  ])('%s', (_name, one, isReachable) => {
    expect(reachablePods([one], inForce).length).toBe(isReachable ? 1 : 0);
  });

  it('is in no case a pod in the mesh whose namespace has no entry, because the inbound program would let everything in', () => {
    const unwritten = { ...inForce, unwritten: new Set([7n]) };
    expect(reachablePods([status('in', '9'), status('pending', '9')], unwritten)).toEqual([]);
    expect(reachablePods([status('out')], unwritten)).toHaveLength(1);
  });

  it('is in node mode whoever has been decided about', () => {
    const nodes = { ...inForce, mode: 'node', attached: new Set<bigint>() } as const;
    expect(reachablePods([status('pending')], nodes)).toEqual([
      { uid: UID, id: 7n, path: '/cg/kubepods/poda', netnsCookie: 0n, known: new Set() },
    ]);
    expect(reachablePods([status('unknown')], nodes)).toEqual([]);
  });

  it('is each pod once, and again when a listener came late, it was not reachable meanwhile, or has another namespace', () => {
    const letGo = new LetGo();
    const at = (cookie: string, ...known: bigint[]) =>
      reachablePods([status('in', cookie)], {
        ...inForce,
        attached: new Set([8n, 9n]),
        known: new Map([[UID, new Set(known)]]),
      });
    const turns = (reachable: ReturnType<typeof at>): number => {
      const due = letGo.due(reachable, new Set([7n]));
      for (const pod of due) letGo.done(pod);
      return due.length;
    };
    expect([turns(at('9', 1n)), turns(at('9', 1n))]).toEqual([1, 0]);
    letGo.again(7n);
    expect([turns(at('9', 1n)), turns([]), turns(at('9', 1n))]).toEqual([1, 0, 1]);
    expect([turns(at('8', 1n)), turns(at('8', 1n, 2n)), turns(at('8', 2n, 1n))]).toEqual([1, 1, 0]);
    letGo.allAgain();
    expect([turns(at('8', 1n)), turns(at('8', 1n))]).toEqual([1, 0]);
  });

  it('is in the course of time each pod again, those first whose turn is longest ago', () => {
    const letGo = new LetGo();
    const pods = [1n, 2n, 3n].map((id) => ({
      uid: String(id),
      id,
      path: '',
      netnsCookie: 9n,
      known: new Set<bigint>(),
    }));
    const due = (): bigint[] => {
      const all = letGo.due(pods, new Set([1n, 2n, 3n]));
      for (const pod of all) letGo.done(pod);
      return all.map(({ id }) => id);
    };
    expect(due()).toEqual([1n, 2n, 3n]);
    letGo.someAgain(2);
    expect(due()).toEqual([1n, 2n]);
    letGo.someAgain(2);
    expect(due()).toEqual([1n, 3n]);
  });
});

describe('a pod of which the guard has not been told', () => {
  it('has its turn when it is told: because there is room then, or because it could not be opened before', () => {
    const letGo = new LetGo();
    const reachable = [{ uid: UID, id: 7n, path: '/cg/kubepods/poda', netnsCookie: 0n, known: new Set<bigint>() }];
    expect(letGo.due(reachable, new Set())).toEqual([]);
    expect(letGo.due(reachable, new Set([7n]))).toEqual(reachable);
  });
});

describe('what the guard tells', () => {
  const podPath = `/kubepods/besteffort/pod${UID}`;
  const container = `${podPath}/${'a'.repeat(64)}`;
  const made = (path: string) => ({ kind: 'cgroup-made' as const, cgroupId: 1n, path });
  const removed = (path: string) => ({ kind: 'cgroup-removed' as const, cgroupId: 1n, path });

  it('is a hint when a pod or a container has come, a pod has gone, or a listener is late', () => {
    const hints = new PodHints();
    const seen: string[] = [];
    const of = (...events: Parameters<PodHints['of']>[0]): string[] => [
      ...hints.of(events, 0, (uid) => seen.push(uid)),
    ];
    expect(of(made(podPath), made(container))).toEqual(['pod-cgroup']);
    expect(seen).toEqual([UID, UID]);
    expect(of(removed(container))).toEqual([]);
    expect(of(removed(podPath))).toEqual(['pod-cgroup']);
    expect(of(made('/kubepods/besteffort'), made('/system.slice'))).toEqual([]);
    expect(of({ kind: 'listener-late', cgroupId: 1n, netnsCookie: 2n })).toEqual(['listener']);
    expect([...hints.of([], 3)]).toEqual(['overrun']);
    hints.settle(new Set([UID]));
    expect(of(made(container))).toEqual([]);
    expect(of(removed(podPath))).toEqual(['pod-cgroup']);
  });
});

describe('a source that has not shown a pod', () => {
  const both = new Set(['process-events', 'guard'] as const);
  const running = { podUid: 'a', runs: true };

  it('is counted once, when it has had time', () => {
    const sightings = new Sightings();
    sightings.look([], both, 0);
    sightings.note('guard', 'a', 1);
    expect(sightings.look([running], both, 1000)).toEqual([]);
    expect(sightings.look([running], both, 10_999)).toEqual([]);
    expect(sightings.look([running], both, 11_000)).toEqual([{ by: 'process-events', uid: 'a' }]);
    expect(sightings.look([running], both, 30_000)).toEqual([]);
  });

  it('is none for pods that were there before, that both have shown, that do not run, or without the source', () => {
    const sightings = new Sightings();
    sightings.look([running], both, 0);
    expect(sightings.look([running], both, 60_000)).toEqual([]);
    const others = ['b', 'c', 'd'].map((podUid) => ({ podUid, runs: podUid !== 'c' }));
    for (const source of both) sightings.note(source, 'b', 60_000);
    sightings.note('process-events', 'd', 60_000);
    const withoutGuard = new Set(['process-events'] as const);
    sightings.look(others, withoutGuard, 60_000);
    expect(sightings.look(others, withoutGuard, 70_000)).toEqual([]);
    expect(sightings.look([{ podUid: 'c', runs: true }], both, 80_000)).toEqual([
      { by: 'process-events', uid: 'c' },
      { by: 'guard', uid: 'c' },
    ]);
  });
});
