// The generator and what it writes, without a kernel.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { btfMaps, generateCodecs, readBtf } from '../src/index.js';
import type { BtfType } from '../src/index.js';
import * as types from './generated/types.js';
import { everyKind, point } from './support/arbitraries.js';
import { objectPath } from './support/objects.js';
import { messageOf } from './support/places.js';

const GENERATED = fileURLToPath(new URL('./generated/types.ts', import.meta.url));

describe('generateCodecs', () => {
  it('gives the committed codecs for the committed C', () => {
    const source = generateCodecs(readBtf(objectPath('types')), 'types.bpf.o');
    expect(source).toBe(readFileSync(GENERATED, 'utf8'));
  });

  it('exports what a global pointer points to', () => {
    expect(types.decodeSample(types.encodeSample({ sequence: 2n ** 64n - 1n, length: 3 }))).toEqual({
      sequence: 2n ** 64n - 1n,
      length: 3,
    });
  });

  it.each([
    ['with_bit_field', 'with_bit_field.low: it is a bit field'],
    ['with_union', 'with_union.either: it is a union'],
    ['with_pointer', 'with_pointer.pointer: it is a pointer'],
  ])('refuses %s by name, and says what to do instead', (struct, words) => {
    const types = readBtf(objectPath('unsupported')).map((type): BtfType =>
      type.kind === 'variable' && type.name !== `export_${struct}` ? { id: 0, kind: 'void' } : type,
    );
    const message = messageOf(() => generateCodecs(types, 'unsupported.bpf.o'));
    expect(message).toContain(words);
    expect(message).toContain('Change the C type');
  });

  it('writes a 64-bit enum as bigints, and refuses one that the compiler has cut', () => {
    const wideEnum = (wide: boolean): BtfType[] => [
      { id: 0, kind: 'void' },
      {
        id: 1,
        kind: 'enum',
        name: 'wide',
        size: 8,
        signed: false,
        wide,
        values: [
          { name: 'WIDE_SMALL', value: 1 },
          { name: 'WIDE_LARGE', value: 2n ** 63n },
        ],
      },
      { id: 2, kind: 'pointer', name: '', type: 1 },
      { id: 3, kind: 'variable', name: 'export_wide', type: 2, linkage: 1 },
    ];
    const source = generateCodecs(wideEnum(true), 'wide.bpf.o');
    expect(source).toContain('  SMALL: 1n,\n  LARGE: 9223372036854775808n,');
    expect(() => generateCodecs(wideEnum(false), 'wide.bpf.o')).toThrow('cut to 32 bits');
  });
});

describe('generated codecs', () => {
  it('read what they wrote', () => {
    fc.assert(
      fc.property(everyKind, (value) => {
        expect(types.decodeEveryKind(types.encodeEveryKind(value))).toEqual(value);
      }),
    );
  });

  it('work at an offset and touch nothing around it', () => {
    fc.assert(
      fc.property(point, fc.nat({ max: 40 }), (value, offset) => {
        const buffer = Buffer.alloc(48, 0xee);
        types.encodePoint(value, buffer, offset);
        expect(types.decodePoint(buffer, offset)).toEqual(value);
        expect(buffer.subarray(0, offset).every((byte) => byte === 0xee)).toBe(true);
        expect(buffer.subarray(offset + types.maps.every_kind_map.keySize).every((byte) => byte === 0xee)).toBe(true);
      }),
    );
  });

  it('write zeros into padding', () => {
    const bytes = types.encodePoint({ x: -1, y: -1 }, Buffer.alloc(8, 0xee));
    expect([...bytes]).toEqual([0xff, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff]);
  });

  it('refuse numbers and lengths that do not fit', () => {
    expect(() => types.encodePoint({ x: 32768, y: 0 })).toThrow(RangeError);
    const [value] = fc.sample(everyKind, 1);
    if (value === undefined) throw new Error('no sample');
    expect(() => types.encodeEveryKind({ ...value, text: new Uint8Array(15) })).toThrow(
      'EveryKind.text must have length 16, not 15',
    );
    expect(() => types.encodeEveryKind({ ...value, many: [1] })).toThrow('EveryKind.many must have length 20, not 1');
    expect(() => types.encodePoint({ x: 0, y: 0 }, Buffer.alloc(7))).toThrow(RangeError);
  });

  it('name enumerators without their common prefix', () => {
    expect(types.Colour).toEqual({ RED: 0, GREEN: 7, BLUE: 9, AZURE: 9 });
  });

  it('have the names of an enum that counts from 0 in words, without the one that says how many there are', () => {
    expect(types.Outcome).toEqual({ PASSED: 0, NOT_ASKED: 1 });
    expect(types.outcomeNames).toEqual(['passed', 'not-asked']);
    expect(types).not.toHaveProperty('colourNames');
  });
});

describe('btfMaps', () => {
  it('reads the definitions of the maps', () => {
    expect(btfMaps(readBtf(objectPath('types'))).map(({ keyType: _key, valueType: _value, ...rest }) => rest)).toEqual([
      {
        name: 'every_kind_map',
        type: 'hash',
        keySize: 8,
        valueSize: types.maps.every_kind_map.valueSize,
        maxEntries: 64,
        flags: 0,
      },
      { name: 'words_map', type: 'array', keySize: 4, valueSize: 16, maxEntries: 2, flags: 0 },
      { name: 'untyped_map', type: 'hash', keySize: 6, valueSize: 10, maxEntries: 8, flags: 0 },
    ]);
  });
});
