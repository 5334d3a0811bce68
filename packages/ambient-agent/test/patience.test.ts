// For how long pods have been without ztunnel.
import { describe, expect, it } from 'vitest';
import { Patience } from '../src/reconcile/patience.js';

describe('patience with a pod that waits', () => {
  it('ends after the limit, and begins anew when the pod has not waited in between', () => {
    const patience = new Patience(1000);
    expect([patience.overdue(0).size, patience.nextMs(0)]).toEqual([0, undefined]);
    patience.see(['a'], 0);
    patience.see(['a', 'b'], 400);
    expect([[...patience.overdue(999)], patience.nextMs(999)]).toEqual([[], 1]);
    expect([[...patience.overdue(1000)], patience.nextMs(1000)]).toEqual([['a'], 400]);
    patience.see(['a', 'b'], 1400);
    expect([[...patience.overdue(1400)], patience.nextMs(1400)]).toEqual([['a', 'b'], undefined]);
    patience.see(['b'], 1500);
    patience.see(['a', 'b'], 1600);
    expect([[...patience.overdue(1600)], patience.nextMs(1600)]).toEqual([['b'], 1000]);
  });
});
