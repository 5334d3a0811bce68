// What stands in for entries that could not be written.
import { NOT_IN_MESH, WorkloadFlag, type ApplyFailure } from '@sluice/datapath';
import { BpfError } from '@sluice/libbpf';
import { describe, expect, it } from 'vitest';
import { refusedPods, withThoseOut, withoutWayIn } from '../src/reconcile/without-entry.js';
import { WAITING_ANNOTATION } from '../src/enrolment/waiting.js';
import { config, enrolWorld, pod, workload } from './world.js';

const error = new BpfError('full', { code: 'E2BIG', errno: 7, syscall: 'bpf' });

function unwritten(map: ApplyFailure['map'], key: bigint): ApplyFailure {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(key);
  return { map, key: bytes.toString('hex'), error };
}

describe('a pod without an entry', () => {
  const workloads = [workload('a', 100n, 7n), workload('open', 200n, 8n), workload('out', 300n)];
  const { desired } = enrolWorld({
    config: config({ mode: 'inPod' }),
    pods: [
      pod('a'),
      pod('open', { annotations: { [WAITING_ANNOTATION]: 'open' } }),
      pod('out', { namespace: 'plain' }),
    ],
    workloads,
  });
  const byUid = new Map(workloads.map((one) => [one.pod.podUid, one]));

  it('is refused what it dials if it is to be in the mesh, and may not go past it', () => {
    const failures = [100n, 200n, 300n].map((id) => unwritten('cgroup_info_map', id));
    expect(refusedPods(failures, desired, byUid)).toEqual([{ path: '/cg/kubepods/besteffort/poda', id: 100n }]);
  });

  it('is not refused for the entry of a container, nor for that of its namespace', () => {
    const failures = [unwritten('cgroup_info_map', 101n), unwritten('netns_info_map', 100n)];
    expect(refusedPods(failures, desired, byUid)).toEqual([]);
  });
});

describe('the namespaces with the inbound program', () => {
  const { desired } = enrolWorld({
    config: config({ mode: 'inPod' }),
    pods: [pod('a')],
    workloads: [workload('a', 100n, 7n)],
  });

  it('have an entry each: that of their pod, or one that says that it is not in the mesh', () => {
    const { netns } = withThoseOut(desired, [7n, 8n]);
    expect([...netns.keys()]).toEqual([7n, 8n]);
    expect((netns.get(7n)?.flags ?? 0) & WorkloadFlag.IN_POD).not.toBe(0);
    expect(netns.get(8n)).toBe(NOT_IN_MESH);
  });

  it('need no other if all of their pods have one', () => {
    expect(withThoseOut(desired, [7n])).toBe(desired);
  });

  it('that lack the one that says so are told apart from those that lack the entry of a pod in the mesh', () => {
    const all = withThoseOut(desired, [7n, 8n, 9n]);
    const failures = [
      unwritten('netns_info_map', 7n),
      unwritten('netns_info_map', 8n),
      unwritten('cgroup_info_map', 9n),
    ];
    expect(withoutWayIn(failures, all)).toEqual(new Set([8n]));
    expect(withoutWayIn([], all)).toEqual(new Set());
  });
});
