// How long a pod that is not wanted any more stays in the mesh.
import { describe, expect, it } from 'vitest';
import { Leaving } from '../src/reconcile/leaving.js';

describe('a pod that is not wanted any more', () => {
  it('stays for the grace, and its return ends that', () => {
    const leaving = new Leaving();
    const stays = (unwanted: readonly string[], nowMs: number): unknown => {
      const { staying, nextMs } = leaving.look(new Set(unwanted), 2000, nowMs);
      return [[...staying], nextMs];
    };
    expect(stays([], 0)).toEqual([[], undefined]);
    expect(stays(['a'], 1000)).toEqual([['a'], 2000]);
    expect(stays(['a', 'b'], 2500)).toEqual([['a', 'b'], 500]);
    expect(stays(['a', 'b'], 3000)).toEqual([['b'], 1500]);
    expect(stays(['b'], 3100)).toEqual([['b'], 1400]);
    expect(stays([], 3200)).toEqual([[], undefined]);
    expect(stays(['b'], 3300)).toEqual([['b'], 2000]);
  });

  it('goes at once without a grace', () => {
    expect(new Leaving().look(new Set(['a']), 0, 5)).toEqual({ staying: new Set(), nextMs: undefined });
  });
});
