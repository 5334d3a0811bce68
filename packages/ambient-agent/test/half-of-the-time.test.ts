// Passes that follow one another, and how long they pause.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HalfOfTheTime } from '../src/reconcile/half-of-the-time.js';

const BURST_MS = 400;
const LONGEST_MS = 300;

describe('passes in a storm of hints', () => {
  it('take no more than half of any time, and a burst', () => {
    const passes = fc.array(fc.record({ idle: fc.nat({ max: 300 }), takes: fc.nat({ max: 300 }) }), { maxLength: 60 });
    fc.assert(
      fc.property(passes, (all) => {
        const half = new HalfOfTheTime(BURST_MS, LONGEST_MS, 0);
        let now = 0;
        const ran: { start: number; end: number }[] = [];
        let pause = 0;
        for (const { idle, takes } of all) {
          const start = now + Math.max(pause, idle);
          now = start + takes;
          ran.push({ start, end: now });
          pause = half.spent(start, now);
          expect(pause).toBeLessThanOrEqual(takes);
        }
        for (const [i, { start }] of ran.entries()) {
          let busy = 0;
          for (const one of ran.slice(i)) {
            // When it begins, what ran before it has been paid for.
            expect(busy).toBeLessThanOrEqual((one.start - start) / 2 + BURST_MS);
            busy += one.end - one.start;
          }
        }
      }),
    );
  });

  it('do not wait for what a storm before them has taken', () => {
    const half = new HalfOfTheTime(BURST_MS, LONGEST_MS, 0);
    let now = 0;
    for (let pass = 0; pass < 100; pass++) now += 2000 + half.spent(now, now + 2000);
    expect(half.spent(now, now + 10)).toBe(10);
  });

  it('follow one another without a pause after a quiet time, until the burst is used up', () => {
    const half = new HalfOfTheTime(BURST_MS, LONGEST_MS, 0);
    expect([half.spent(0, 150), half.spent(150, 390), half.spent(390, 410)]).toEqual([0, 0, 10]);
    expect(half.spent(420, 430)).toBe(10);
    expect(half.spent(100_000, 100_400)).toBe(0);
    expect(half.spent(100_400, 100_401)).toBe(1);
  });
});
