import { describe, expect, it } from 'vitest';
import * as generated from '../src/generated/maps.js';
import { EVENTS, REASONS, VERDICTS } from '../src/names.js';

const inC = (name: string): string => name.toUpperCase().replaceAll('-', '_');

describe('the names of the C enumerations', () => {
  it.each([
    [VERDICTS, generated.Verdict, 'VERDICTS'],
    [REASONS, generated.Reason, 'REASONS'],
    [EVENTS, generated.Event, 'EVENTS'],
  ] as const)('are complete and in order: %s', (names, codes, count) => {
    const expected = Object.fromEntries([...names.map((name, index) => [inC(name), index]), [count, names.length]]);
    expect(codes).toEqual(expected);
  });
});
