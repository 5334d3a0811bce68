// What is said of the starts of pods, from samples made by hand.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { distributionSvg } from '../src/plots.js';
import { Progress } from '../src/progress.js';
import { randomFrom } from '../src/random.js';
import { parseStart } from '../src/start/options.js';
import { sampleOf } from '../src/start/sample.js';
import { summaryOf } from '../src/start/summary.js';
import { quantile } from '../src/statistics.js';
import { UsageError } from '../src/usage-error.js';

const attempt = (endedUs: number, error: string, ...by: string[]) => ({
  to: '10.66.1.2:80',
  bornUs: 0,
  beganUs: endedUs - 1,
  endedUs,
  ok: by.length > 0,
  error,
  readError: '',
  hops: by.map((by) => (by === 'ztunnel' ? { by, originalDst: '10.66.1.2:80' } : { by })),
});

describe('a start', () => {
  test('is summed up by where its dials went, and by the wait until the first in the mesh', () => {
    const attempts = [
      attempt(10, 'ECONNREFUSED'),
      attempt(2000, '', 'remote'),
      attempt(3500, '', 'ztunnel', 'remote'),
      attempt(4000, 'ETIMEDOUT'),
      attempt(5000, '', 'ztunnel', 'remote'),
    ];
    expect(sampleOf(7, 4, attempts)).toEqual({
      start: 7,
      family: 4,
      ways: { mesh: 2, direct: 1, refused: 1, failed: 1 },
      waitMs: 3.5,
      first: 'refused',
      wrong: attempts[0],
    });
  });

  test('without a dial, or with none in the mesh, has no wait', () => {
    expect(sampleOf(0, 6, [])).toMatchObject({ first: 'failed', waitMs: undefined, wrong: undefined });
    expect(sampleOf(0, 6, [attempt(5, '', 'remote')])).toMatchObject({ first: 'direct', waitMs: undefined });
  });
});

describe('all starts', () => {
  const meshed = sampleOf(0, 4, [attempt(1000, '', 'ztunnel', 'remote')]);
  test('are as promised only if every dial was in the mesh', () => {
    expect(summaryOf([meshed, meshed])).toMatchObject({
      starts: 2,
      dials: { mesh: 2, direct: 0, refused: 0, failed: 0 },
      firstInMesh: 2,
      neverInMesh: 0,
      waitMs: { p50: 1, max: 1 },
      isAsPromised: true,
    });
    for (const wrong of [attempt(9, 'ECONNREFUSED'), attempt(9, '', 'remote'), attempt(9, 'ETIMEDOUT')]) {
      const late = sampleOf(1, 4, [wrong, attempt(2000, '', 'ztunnel', 'remote')]);
      expect(summaryOf([meshed, late])).toMatchObject({ neverInMesh: 0, firstInMesh: 1, isAsPromised: false });
    }
    expect(summaryOf([meshed, sampleOf(1, 4, [])])).toMatchObject({ neverInMesh: 1, isAsPromised: false });
  });
});

describe('a quantile', () => {
  test('is a value that at least that share does not exceed, and the next smaller one is not', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ noNaN: true }), { minLength: 1 }),
        fc.double({ min: 0.01, max: 1, noNaN: true }),
        (values, q) => {
          const found = quantile(values, q);
          const share = (limit: (value: number) => boolean): number => values.filter(limit).length / values.length;
          expect(values).toContain(found);
          expect(share((value) => value <= found)).toBeGreaterThanOrEqual(q - 1e-12);
          expect(share((value) => value < found)).toBeLessThan(q + 1e-12);
        },
      ),
    );
    expect(quantile([], 0.5)).toBeNaN();
  });
});

test('the same seed gives the same numbers, from 0 up to 1, and another seed others', () => {
  const some = (seed: number): number[] => {
    const random = randomFrom(seed);
    return Array.from({ length: 1000 }, random);
  };
  expect(some(1)).toEqual(some(1));
  expect(some(1)).not.toEqual(some(2));
  expect(some(3).every((value) => value >= 0 && value < 1)).toBe(true);
  const mean = some(4).reduce((sum, value) => sum + value, 0) / 1000;
  expect(Math.abs(mean - 0.5)).toBeLessThan(0.05);
});

test('the drawing is an SVG that stands by itself, of any number of values', () => {
  for (const values of [[], [0], [1, 2, 3], Array.from({ length: 20_000 }, (_, n) => n / 10)]) {
    const svg = distributionSvg({
      title: 'T <&>',
      subtitle: 'S',
      label: 'ms',
      values,
      marked: values.length === 0 ? {} : { median: 1234.5 },
    });
    expect(svg).toMatch(/^<svg [^]*<\/svg>\n$/);
    expect(svg).toContain('xmlns="http://www.w3.org/2000/svg"');
    expect(svg).toContain('T &lt;&amp;');
    expect(svg).not.toMatch(/NaN|undefined/);
    if (values.length > 0) expect(svg).toContain('median 1,230');
    expect(svg.length).toBeLessThan(60_000);
  }
});

describe('the command line', () => {
  test('has defaults, and takes every option', () => {
    expect(parseStart([])).toMatchObject({ starts: 1000, delays: 'kubelet', atATime: 8, output: 'table' });
    expect(parseStart('--starts 5 --delays none --at-a-time 2 --seed 9 --out d -o json'.split(' '))).toEqual({
      starts: 5,
      delays: 'none',
      atATime: 2,
      seed: 9,
      out: 'd',
      output: 'json',
    });
    expect(parseStart(['-h'])).toBe('help');
  });
  test.each([
    [['--starts', '0'], '--starts 0'],
    [['--starts', 'x'], '--starts x'],
    [['--at-a-time', '1000'], '--at-a-time 1000'],
    [['--delays', 'long'], '--delays long'],
    [['-o', 'xml'], '-o xml'],
    [['--seed', '-1'], 'seed'],
    [['--what'], '--what'],
    [['more'], 'more'],
  ])('%j is wrong usage, and it says why', (argv, why) => {
    expect(() => parseStart(argv)).toThrow(UsageError);
    expect(() => parseStart(argv)).toThrow(why);
  });
});

test('progress is one line that changes on a terminal, and now and then a line elsewhere', () => {
  const written = (isTTY: boolean): string[] => {
    const lines: string[] = [];
    const stream = { isTTY, write: (text: string) => lines.push(text) > 0 } as unknown as NodeJS.WriteStream;
    const progress = new Progress(3, stream);
    for (const done of [1, 2, 3]) progress.at(done, () => 'x');
    return lines;
  };
  expect(written(false).at(-1)).toBe('3 of 3, 0 s left; x\n');
  expect(written(true).at(-1)).toBe('\r\u001B[K3 of 3, 0 s left; x\n');
});
