// Random values of the generated types.
import fc from 'fast-check';
import { Colour } from '../generated/types.js';
import type { EveryKind, Point } from '../generated/types.js';

const integer = (bits: number): fc.Arbitrary<number> => fc.integer({ min: 0, max: 2 ** bits - 1 });
const signed = (bits: number): fc.Arbitrary<number> =>
  fc.integer({ min: -(2 ** (bits - 1)), max: 2 ** (bits - 1) - 1 });
const bytes = (length: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: length, maxLength: length });
const three = fc.tuple(integer(16), integer(16), integer(16));

export const point: fc.Arbitrary<Point> = fc.record({ x: signed(16), y: signed(32) });

export const everyKind: fc.Arbitrary<EveryKind> = fc.record({
  u8: integer(8),
  s8: signed(8),
  u16: integer(16),
  s16: signed(16),
  u32: integer(32),
  s32: signed(32),
  u64: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  s64: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  flag: fc.boolean(),
  colour: fc.constantFrom(...Object.values(Colour)),
  text: bytes(16),
  bytes: bytes(3),
  words: fc.tuple(integer(32), integer(32), integer(32), integer(32)),
  grid: fc.tuple(three, three),
  many: fc.array(integer(16), { minLength: 20, maxLength: 20 }),
  flags: fc.tuple(fc.boolean(), fc.boolean()),
  point,
  points: fc.tuple(point, point),
  innerCount: integer(32),
  nestedValue: fc.record({ depth: integer(16) }),
  byTypedef: fc.record({ level: integer(8) }),
  qualified: integer(32),
});
