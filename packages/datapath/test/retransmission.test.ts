// How often a SYN is sent again, for every length of a jiffy that Linux can be built with.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { retransmission } from '../src/retransmission.js';

/** CONFIG_HZ of kernel/Kconfig.hz and of the architectures, in microseconds. */
const jiffies = fc.constantFrom(1000, 3333, 4000, 10_000, 977, 20_833, 41_667);

/** How long the kernel waits before it gives up: after the last SYN it waits once more. */
function waitOf(first: number, times: number, jiffy: number): number {
  let wait = 0;
  for (let sent = 0, timeout = (first * jiffy) / 1000; sent <= times; sent++, timeout = Math.min(2 * timeout, 120_000))
    wait += timeout;
  return wait;
}

describe('a SYN that is sent again', () => {
  it('is first sent after some 50 ms, whatever the kernel counts in', () => {
    expect(retransmission(60_000, 4000)).toEqual({ first: 12, times: 10 });
    expect(retransmission(60_000, 1000)).toEqual({ first: 48, times: 10 });
    expect(retransmission(60_000, 10_000)).toEqual({ first: 5, times: 10 });
  });

  it('is sent for as long as a connection may wait, and not once more', () => {
    fc.assert(
      fc.property(jiffies, fc.integer({ min: 1000, max: 3_600_000 }), (jiffy, wait) => {
        const { first, times } = retransmission(wait, jiffy);
        expect(waitOf(first, times, jiffy)).toBeGreaterThanOrEqual(wait);
        expect(waitOf(first, times - 1, jiffy)).toBeLessThan(wait);
        expect(times).toBeLessThanOrEqual(127);
      }),
    );
  });
});
