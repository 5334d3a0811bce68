// Which addresses pods get.
import { describe, expect, test } from 'vitest';
import { AddressPool, hardwareAddress } from '../src/topology.js';

describe('the addresses of a node’s pods', () => {
  test('are given out again only after all the others', () => {
    const pool = new AddressPool();
    const first = pool.next();
    pool.take(first);
    pool.giveBack(first);
    const others = Array.from({ length: 244 }, () => {
      const next = pool.next();
      pool.take(next);
      return next.ip4;
    });
    expect(others).not.toContain(first.ip4);
    expect(new Set(others).size).toBe(244);
    expect(pool.next()).toEqual(first);
    pool.take(first);
    expect(() => pool.next()).toThrow('room for 245 pods at a time');
  });

  test('give a link address of either family', () => {
    expect(hardwareAddress('10.66.0.254')).toBe('02:42:0a:42:00:fe');
    expect(hardwareAddress('fd66::254')).toBe('02:43:00:00:02:54');
  });
});
