// Generated codecs through a real map: what TypeScript writes, the kernel keeps and gives back.
import { requires } from '@sluice/testbed';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openObject, possibleCpus } from '../src/index.js';
import type { BpfObject } from '../src/index.js';
import { maps } from './generated/types.js';
import { everyKind, point } from './support/arbitraries.js';
import { objectPath } from './support/objects.js';

const need = requires('root', 'bpf');

describe.skipIf(need.skip)(`generated codecs and the kernel${need.label}`, () => {
  let object: BpfObject;
  beforeAll(() => {
    object = openObject(objectPath('types'));
    object.load();
  });
  afterAll(() => object.close());

  it('come back as they went in', () => {
    const map = object.map('every_kind_map').typed(maps.every_kind_map);
    fc.assert(
      fc.property(point, everyKind, (key, value) => {
        map.set(key, value, 'create');
        expect(map.get(key)).toEqual(value);
        expect([...map.entries()]).toEqual([[key, value]]);
        expect(map.delete(key)).toBe(true);
        expect(map.get(key)).toBeUndefined();
      }),
    );
  });

  it('agree with the kernel on every size', () => {
    for (const [name, { keySize, valueSize, type, maxEntries, flags }] of Object.entries(maps)) {
      expect(object.map(name)).toMatchObject({ keySize, valueSize, type, maxEntries, flags });
    }
  });

  it('are refused for a map of another layout', () => {
    expect(() => object.map('words_map').typed(maps.every_kind_map)).toThrow(
      "map 'words_map' has keys of 4 and values of 16 bytes, its codec 8 and",
    );
  });

  it('read a per-CPU map one CPU at a time', () => {
    using other = openObject(objectPath('maps'));
    other.load();
    const number = {
      keySize: 4,
      valueSize: 4,
      encodeKey: maps.words_map.encodeKey,
      decodeKey: maps.words_map.decodeKey,
      encodeValue: maps.words_map.encodeKey,
      decodeValue: maps.words_map.decodeKey,
    };
    expect(other.map('per_cpu').typed(number).getPerCpu(0)).toEqual(Array.from({ length: possibleCpus() }, () => 0));
  });
});
