// The parts of a soak that need no node: the judge, the steps, the shortening, the command line.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { partyOf, Timeline, verdict } from '../src/soak/judge.js';
import type { Party } from '../src/soak/model.js';
import { parseSoak } from '../src/soak/options.js';
import { shrink } from '../src/soak/shrink.js';
import { runOf } from '../src/soak/soak.js';
import { stepText } from '../src/soak/steps.js';
import { UsageError } from '../src/usage-error.js';

const TO = '10.66.1.2:80';
const permits = (...parties: Party[]) => ({ out: new Set(parties), in: new Set(parties) });
const attempt = (beganUs: number, endedUs: number, error: string, ...hops: object[]) => ({
  to: TO,
  bornUs: 1000,
  beganUs,
  endedUs,
  ok: hops.length > 0,
  error,
  readError: '',
  hops,
});
const ztunnel = { by: 'ztunnel', pod: 'u1', originalDst: TO };
const remote = { by: 'remote' };
const parties = { uid: 'u1', lastBy: 'remote' };

describe('a connection', () => {
  const timeline = new Timeline();
  timeline.note(permits('mesh', 'nobody'), 0);
  timeline.note(permits('mesh'), 2000);
  timeline.note(permits('mesh'), 2500);
  timeline.note(permits('direct'), 3000);

  test('is judged by all that was permitted while it was made', () => {
    const judge = (beganUs: number, endedUs: number, error: string, ...hops: object[]): string | undefined =>
      verdict(attempt(beganUs, endedUs, error, ...hops), 'out', parties, timeline);
    expect(judge(0, 500, 'ECONNREFUSED')).toBeUndefined();
    expect(judge(1100, 1200, 'ECONNREFUSED')).toBe('was refused, where only mesh was permitted');
    expect(judge(900, 1200, 'ECONNREFUSED')).toBeUndefined();
    expect(judge(0, 500, '', remote)).toBe('went directly, where only mesh or nobody was permitted');
    expect(judge(500, 2100, '', remote)).toBeUndefined();
    expect(judge(2100, 2200, '', ztunnel, remote)).toBe('was accepted by ztunnel, where only direct was permitted');
    expect(judge(1100, 1200, '', ztunnel, remote)).toBeUndefined();
    expect(judge(1100, 1200, 'ETIMEDOUT')).toBeUndefined();
    expect(timeline.text).toBe(
      '0: out mesh|nobody, in mesh|nobody; 2000: out mesh, in mesh; 3000: out direct, in direct',
    );
  });

  test('has to be accepted for the right pod, with the destination that was dialled, and to end where it was meant to', () => {
    const judge = (...hops: object[]): string | undefined =>
      verdict(attempt(1100, 1200, '', ...hops), 'out', parties, timeline);
    expect(judge({ ...ztunnel, pod: 'u2' }, remote)).toContain('of another pod, u2');
    expect(judge({ ...ztunnel, originalDst: '1.2.3.4:5' }, remote)).toContain('ztunnel read 1.2.3.4:5');
    expect(judge(ztunnel, { by: 'shop/x' })).toBe('ended at shop/x instead of remote');
    expect(judge(ztunnel)).toBeUndefined();
    expect(partyOf(attempt(0, 1, 'ECONNREFUSED'))).toBe('nobody');
  });
});

describe('the steps of a run', () => {
  test('are the same for the same seed, and others for another one', () => {
    const options = { steps: 200, without: new Set<string>() };
    expect(runOf(7, options)).toEqual(runOf(7, options));
    expect(runOf(7, options)).not.toEqual(runOf(8, options));
    const { steps } = runOf(7, options);
    expect(steps.at(-1)).toEqual({ do: 'settle' });
    expect(new Set(steps.map(({ do: kind }) => kind)).size).toBeGreaterThan(15);
    expect(JSON.parse(JSON.stringify(steps))).toEqual(steps);
  });

  test('have nothing of what is left out', () => {
    const without = new Set(['lie', 'agent-kill', 'static', 'object-late', 'unpaused']);
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        for (const step of runOf(seed, { steps: 50, without }).steps) {
          expect(without).not.toContain(step.do);
          if (step.do === 'create') expect([without.has(step.start), step.hasPauses]).toEqual([false, true]);
        }
      }),
    );
  });

  test('can be read', () => {
    expect(
      stepText({
        do: 'create',
        pod: 'p1',
        namespace: 'shop',
        label: 'no',
        waiting: 'open',
        start: 'ordinary',
        hasPauses: true,
        isAwaited: false,
      }),
    ).toBe('create p1 shop label=no waiting=open start=ordinary hasPauses');
    expect(stepText({ do: 'settle' })).toBe('settle');
  });
});

describe('shortening', () => {
  test('leaves exactly what is needed, if each part is needed or not by itself', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(fc.nat(), { minLength: 1 }), fc.func(fc.boolean()), async (items, isNeeded) => {
        const needed = items.filter((item) => isNeeded(item));
        const kept = await shrink(items, async (some) => needed.every((item) => some.includes(item)));
        expect(kept).toEqual(needed.length === 0 ? kept : needed);
        expect(kept.length).toBe(Math.max(needed.length, 1));
      }),
    );
  });

  test('ends with what it has when there is no time left', async () => {
    let calls = 0;
    const kept = await shrink([1, 2, 3, 4], async () => ((calls += 1) > 1 ? undefined : true));
    expect([kept, calls]).toEqual([[3, 4], 2]);
  });
});

describe('the command line', () => {
  test('has defaults, and takes every option', () => {
    expect(parseSoak([])).toMatchObject({ minutes: 10, steps: 40, patienceMs: 60_000, keepsGoing: false });
    expect(
      parseSoak(
        '--minutes 60 --seed 5 --steps 9 --patience 7 --shrink-minutes 0 --without lie,static --keep-going --out d'.split(
          ' ',
        ),
      ),
    ).toEqual({
      minutes: 60,
      seed: 5,
      steps: 9,
      patienceMs: 7000,
      shrinkMinutes: 0,
      without: new Set(['lie', 'static']),
      replay: undefined,
      keepsGoing: true,
      out: 'd',
    });
    expect(parseSoak(['-h'])).toBe('help');
  });
  test.each([
    [['--without', 'rain'], '--without rain'],
    [['--minutes', 'x'], '--minutes x'],
    [['--what'], '--what'],
  ])('%j is wrong usage, and it says why', (argv, why) => {
    expect(() => parseSoak(argv)).toThrow(UsageError);
    expect(() => parseSoak(argv)).toThrow(why);
  });
});
