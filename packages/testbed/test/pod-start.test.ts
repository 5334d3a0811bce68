// The order of the steps by which a pod comes to be, and how a test changes it.
import { describe, expect, test } from 'vitest';
import { moved, KUBELET_ORDER, KUBELET_PAUSES, POD_STEPS, without } from '../src/pod-start.js';

describe('the steps of a start', () => {
  test('are the kubelet’s, with its pauses or without', () => {
    expect(KUBELET_ORDER).toEqual(POD_STEPS);
    expect(KUBELET_PAUSES.filter((entry) => typeof entry !== 'number')).toEqual(POD_STEPS);
    const pauses = KUBELET_PAUSES.slice(KUBELET_PAUSES.indexOf('cgroup'), KUBELET_PAUSES.indexOf('sandbox')).filter(
      (entry) => typeof entry === 'number',
    );
    expect(pauses.reduce((sum, pause) => sum + pause, 0)).toBe(66);
  });

  test('can be left out and moved, and the pauses stay where they are', () => {
    expect(without(['object', 5, 'cgroup', 'status'], 'object', 'status')).toEqual([5, 'cgroup']);
    expect(moved(['object', 'cgroup', 7, 'app'], 'object', { after: 'app' })).toEqual(['cgroup', 7, 'app', 'object']);
    expect(() => moved(['object'], 'object', { after: 'app' })).toThrow('no step app');
  });
});
