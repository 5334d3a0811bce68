// The pure parts: lines, revisions, waits, and the facts in an error.
import * as Effect from 'effect/Effect';
import * as Fiber from 'effect/Fiber';
import * as Stream from 'effect/Stream';
import * as TestClock from 'effect/testing/TestClock';
import * as fc from 'fast-check';
import { expect, it } from 'vitest';
import { ApiError, statusError } from '../src/api-error.js';
import { backOffMs } from '../src/back-off.js';
import { lines } from '../src/lines.js';
import { asObject, isNotAfter, PODS } from '../src/resource.js';
import { withRetries } from '../src/retry.js';

function chunksOf(bytes: Buffer, cuts: readonly number[]): Stream.Stream<Buffer> {
  const ends = [...cuts.map((at) => at % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  return Stream.fromIterable(ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end)));
}

const linesOf = <E>(chunks: Stream.Stream<Buffer, E>, longest: number): Promise<string[]> =>
  Effect.runPromise(Stream.runCollect(lines(chunks, longest, () => 'too long' as never)));

it('splits lines wherever the chunks are cut, even inside a character', async () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 30 }).map((line) => line.replaceAll('\n', ''));
  await fc.assert(
    fc.asyncProperty(fc.array(text), fc.array(fc.nat()), async (given, cuts) => {
      const bytes = Buffer.from(given.map((line) => `${line}\n`).join(''));
      expect(await linesOf(chunksOf(bytes, cuts), 1000)).toEqual(given);
    }),
  );
});

it('returns an unfinished line, refuses one that does not end, and drops one that breaks off', async () => {
  expect(await linesOf(chunksOf(Buffer.from('a\nb'), [2]), 10)).toEqual(['a', 'b']);
  await expect(linesOf(chunksOf(Buffer.alloc(100, 'x'), [30, 60]), 50)).rejects.toBe('too long');
  const broken = Stream.concat(chunksOf(Buffer.from('a\nb'), [2]), Stream.fail('broken'));
  const seen: string[] = [];
  const taken = Stream.runForEach(
    lines(broken, 10, () => 'too long'),
    (line) => Effect.sync(() => seen.push(line)),
  );
  expect([await Effect.runPromise(Effect.flip(taken)), seen]).toEqual(['broken', ['a']]);
});

it('compares revisions as numbers', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n }), fc.bigInt({ min: 0n, max: 2n ** 64n }), (a, b) => {
      expect(isNotAfter(String(a), String(b))).toBe(a <= b);
    }),
  );
  expect(isNotAfter('opaque', '5')).toBe(false);
  expect(isNotAfter(undefined, '5')).toBe(false);
});

it('waits longer each time, with jitter, never longer than the cap and never shorter than the server asks', () => {
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

it('tries again after the time that the server asks for, and no sooner', async () => {
  const asks = new ApiError('PATCH /x', { code: 503, reason: 'Busy', message: 'x', retryAfterMs: 100_000 });
  const forbids = new ApiError('PATCH /x', { code: 403, reason: 'Forbidden', message: 'x' });
  let attempts = 0;
  const attempt = Effect.suspend(() => Effect.fail((attempts += 1) < 3 ? asks : forbids));
  const program = Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(Effect.flip(withRetries(attempt, {})));
    const seen: number[] = [];
    for (const seconds of [99, 11, 89, 21]) {
      yield* TestClock.adjust(seconds * 1000);
      seen.push(attempts);
    }
    expect(seen).toEqual([1, 2, 2, 3]);
    expect(yield* Fiber.join(fiber)).toBe(forbids);
  });
  await Effect.runPromise(Effect.provide(program, TestClock.layer()));
});

it('makes an error from any answer', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), fc.option(fc.string(), { nil: undefined }), (body, retryAfter) => {
      const error = statusError('GET /x', 500, body, retryAfter);
      expect(error.message).toMatch(/^GET \/x: 500 /);
      expect(error.retryAfterMs ?? 0).toBeGreaterThanOrEqual(0);
      expect(error.retryAfterMs ?? 0).toBeLessThanOrEqual(300_000);
    }),
  );
});

it('refuses an object without an identity', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const object = asObject({ metadata: value }, PODS);
      if (object !== undefined)
        expect([typeof object.metadata.uid, typeof object.metadata.name]).toEqual(['string', 'string']);
      expect(asObject(value, PODS)?.kind ?? 'Pod').toBe('Pod');
    }),
  );
});
