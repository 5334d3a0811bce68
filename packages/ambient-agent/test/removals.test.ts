// An agent that leaves waits for an acknowledgement of each removal from each ztunnel.
import { describe, expect, it } from 'vitest';
import { Removals } from '../src/index.js';

describe('removals', () => {
  it('are counted for every connection, until they are acknowledged or undone, or it ends', () => {
    const removals = new Removals();
    removals.offered(new Set(['a', 'b', 'c']), [1, 2]);
    expect(removals.size).toBe(0);
    removals.offered(new Set(), [1, 2]);
    expect(removals.size).toBe(6);
    removals.acknowledged(1, 'a');
    removals.acknowledged(1, 'a');
    removals.acknowledged(3, 'a');
    expect(removals.size).toBe(5);
    removals.offered(new Set(['b']), [1, 2, 3]);
    expect(removals.size).toBe(3);
    removals.disconnected(2);
    expect(removals.size).toBe(1);
    removals.acknowledged(1, 'c');
    expect(removals.size).toBe(0);
  });
});
