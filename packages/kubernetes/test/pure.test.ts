// The parts that are pure: lines, revisions, waits, and what is kept of an error.
import * as fc from 'fast-check';
import { expect, it } from 'vitest';
import { statusError } from '../src/api-error.js';
import { backOffMs } from '../src/back-off.js';
import { lines } from '../src/lines.js';
import { asObject, isNotAfter, PODS } from '../src/resource.js';

async function* chunksOf(bytes: Buffer, cuts: readonly number[]): AsyncGenerator<Buffer> {
  let start = 0;
  for (const cut of [...cuts.map((at) => at % (bytes.length + 1)), bytes.length].sort((a, b) => a - b)) {
    yield bytes.subarray(start, cut);
    start = cut;
  }
}

async function collect<A>(from: AsyncIterable<A>): Promise<A[]> {
  const all: A[] = [];
  for await (const one of from) all.push(one);
  return all;
}

it('splits lines wherever the chunks are cut, also inside a character', async () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 30 }).map((line) => line.replaceAll('\n', ''));
  await fc.assert(
    fc.asyncProperty(fc.array(text), fc.array(fc.nat()), async (given, cuts) => {
      const bytes = Buffer.from(given.map((line) => `${line}\n`).join(''));
      expect(await collect(lines(chunksOf(bytes, cuts), 1000))).toEqual(given);
    }),
  );
});

it('gives an unfinished line as one, and refuses one that does not end', async () => {
  expect(await collect(lines(chunksOf(Buffer.from('a\nb'), [2]), 10))).toEqual(['a', 'b']);
  await expect(collect(lines(chunksOf(Buffer.alloc(100, 'x'), [30, 60]), 50))).rejects.toThrow('longer than 50 bytes');
});

it('compares revisions as the numbers that they are', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n }), fc.bigInt({ min: 0n, max: 2n ** 64n }), (a, b) => {
      expect(isNotAfter(String(a), String(b))).toBe(a <= b);
    }),
  );
  expect(isNotAfter('opaque', '5')).toBe(false);
  expect(isNotAfter(undefined, '5')).toBe(false);
});

it('waits longer each time, with jitter, never longer than the cap and never less than was asked for', () => {
  const backOff = { baseMs: 100, capMs: 5000 };
  const below1 = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10_000 }), fc.nat(300_000), below1, (failures, retryAfterMs, random) => {
      const wait = backOffMs(backOff, failures, retryAfterMs, random);
      expect(wait).toBeGreaterThanOrEqual(Math.max(50, retryAfterMs));
      expect(wait).toBeLessThanOrEqual(Math.max(5000, retryAfterMs * 1.1));
    }),
  );
});

it('makes an error of any answer', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), fc.option(fc.string(), { nil: undefined }), (body, retryAfter) => {
      const error = statusError('GET /x', 500, body, retryAfter);
      expect(error.message).toMatch(/^GET \/x: 500 /);
      expect(error.retryAfterMs ?? 0).toBeGreaterThanOrEqual(0);
      expect(error.retryAfterMs ?? 0).toBeLessThanOrEqual(300_000);
    }),
  );
});

it('believes no object without an identity', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const object = asObject({ metadata: value }, PODS);
      if (object !== undefined)
        expect([typeof object.metadata.uid, typeof object.metadata.name]).toEqual(['string', 'string']);
      expect(asObject(value, PODS)?.kind ?? 'Pod').toBe('Pod');
    }),
  );
});
