// The end of a pass: what follows for the pods from what could be written and attached.
import { Buffer } from 'node:buffer';
import type { ApplyFailure } from '@sluice/datapath';
import { BpfError } from '@sluice/libbpf';
import * as Effect from 'effect/Effect';
import * as Layer from 'effect/Layer';
import { describe, expect, it } from 'vitest';
import {
  discoverZtunnels,
  finishPass,
  InventorySource,
  LetGo,
  noAnnouncements,
  type PassResult,
} from '../src/index.js';
import { withThoseOut } from '../src/reconcile/without-entry.js';
import { Recorder } from './recorder.js';
import { config, enrolWorld, HOST_COOKIE, inventory, pod, workload } from './world.js';

const settings = config({ mode: 'inPod' });
/** By their names: the pod-level cgroup, and the namespace. */
const PODS = { a: [1000n, 100n], b: [2000n, 200n] } as const;

/** `entering`: UIDs of pods that were out until now. */
async function finish(
  failures: readonly ApplyFailure[],
  entering: readonly string[] = [],
  recorder = new Recorder(),
): Promise<PassResult & Pick<Recorder, 'reachable' | 'log'>> {
  const cookies = new Map(Object.entries(PODS).map(([name, [, cookie]]) => [name, cookie]));
  const pods = [pod('a', { ips: ['10.0.0.2'] }), pod('b', { ips: ['10.0.0.3'] })];
  const workloads = Object.entries(PODS).map(([name, [base, cookie]]) => workload(name, base, cookie));
  const isIn = (uid: string): boolean => !entering.includes(uid);
  const acknowledged = new Map([...cookies].filter(([uid]) => isIn(uid)));
  const wished = enrolWorld({
    config: settings,
    pods,
    workloads,
    served: { acknowledged, entering: new Set(entering) },
  });
  const enrolment = { ...wished, desired: withThoseOut(wished.desired, cookies.values()) };
  const known = inventory(pods);
  const place = { path: '/cg', id: 1n };
  const pass = {
    isThorough: false,
    ztunnels: discoverZtunnels(known, settings),
    inventory: known,
    truth: {
      workloads: new Map(workloads.map((one) => [one.pod.podUid, one])),
      kubelets: [],
      root: place,
      podsParents: [place],
      hostNetnsCookie: HOST_COOKIE,
      hostNetnsInode: 1n,
      problems: [],
    },
    enrolment,
    needs: {
      mode: 'inPod',
      root: place,
      podsParents: [place],
      kubelets: [],
      ztunnels: [],
      rewritten: [],
      held: [],
      refused: [],
      capturesDns: false,
      probesFromHost: false,
      ztunnelByMark: false,
    },
    plan: new Map(),
    inventoryProblems: [],
    dueMs: undefined,
    missing: [],
    applied: { written: 0, removed: 0, failures, wanted: {} },
    attached: { attached: [], updated: [], failures: [] },
  } as const;
  const places = {
    view: { findNetns: () => undefined } as never,
    config: settings,
    doneNetns: recorder.done,
    out: new Set<string>(),
    lacking: new Map<string, string>(),
    letGo: new LetGo(),
  };
  const layers = Layer.mergeAll(
    recorder.layers(),
    noAnnouncements,
    Layer.succeed(InventorySource, InventorySource.of({ current: Effect.die('not asked here') } as never)),
  );
  const result = await Effect.runPromise(Effect.provide(finishPass(places, pass), layers));
  return { ...result, reachable: recorder.reachable, log: recorder.log };
}

/** The kernel refuses an entry with such a key, of eight bytes. */
function refused(map: ApplyFailure['map'], key: bigint): ApplyFailure {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(key);
  const error = new BpfError('bpf(BPF_MAP_UPDATE_ELEM): E2BIG', { code: 'E2BIG', errno: 7, syscall: 'bpf' });
  return { map, key: bytes.toString('hex'), error };
}

const stateOf = ({ statuses }: PassResult, name: string): string | undefined =>
  statuses.find((status) => status.name === name)?.state;

describe('at the end of a pass', () => {
  it('pods are in the mesh and may be reached when everything is done', async () => {
    const result = await finish([]);
    expect([stateOf(result, 'a'), stateOf(result, 'b')]).toEqual(['in', 'in']);
    expect(result.reachable).toEqual([1000n, 2000n]);
  });

  it('nothing is left to do, unless the guard could not be told who may be reached', async () => {
    const node = new Recorder();
    const isIncomplete = async (): Promise<boolean> => (await finish([], [], node)).isIncomplete;
    // It prepares the pods, on which the next one decides.
    expect(await isIncomplete()).toBe(true);
    expect(await isIncomplete()).toBe(false);
    node.isUntold = true;
    expect(await isIncomplete()).toBe(true);
  });

  it('a pod whose namespace has no entry is pending, and cannot be reached', async () => {
    const result = await finish([refused('netns_info_map', 200n)]);
    expect([stateOf(result, 'a'), stateOf(result, 'b')]).toEqual(['in', 'pending']);
    expect(result.reachable).toEqual([1000n]);
    expect(result.isIncomplete).toBe(true);
  });

  it('a pod that lacks another entry is pending, and is reached as a pending pod is', async () => {
    const result = await finish([refused('cgroup_info_map', 1000n)]);
    expect([stateOf(result, 'a'), stateOf(result, 'b')]).toEqual(['pending', 'in']);
    expect(result.reachable).toEqual([1000n, 2000n]);
  });

  describe('a pod that enters the mesh', () => {
    it('connects as before, and gets the inbound program', async () => {
      const result = await finish([], ['a']);
      expect([stateOf(result, 'a'), stateOf(result, 'b')]).toEqual(['pending', 'in']);
      expect(result.log).toContain('attach 100');
    });

    it('does not get the inbound program as long as no entry says that it is reached as before, and says why', async () => {
      const result = await finish([refused('netns_info_map', 100n)], ['a']);
      expect(stateOf(result, 'a')).toBe('pending');
      expect(result.log).toContain('plumb 100');
      expect(result.log).not.toContain('attach 100');
      expect(result.log).toContain('attach 200');
      const { problems = [], inbound } = result.statuses.find(({ name }) => name === 'a') ?? {};
      expect(problems.join('\n')).toMatch(/inbound program is not attached.*netns_info_map/);
      expect(inbound).toBe('no');
      expect(result.problems.join('\n')).toMatch(/E2BIG/);
      expect(result.isIncomplete).toBe(true);
    });
  });
});
