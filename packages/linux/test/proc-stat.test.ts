// /proc/<pid>/stat, with the names that people give to programs.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseStat, readProcess } from '../src/proc-stat.js';

/** A line with the given state and start time, and different numbers in all fields that are read. */
function line(pid: number, comm: string, state: string, startTime: string): string {
  const fields = [state, '7', ...Array.from({ length: 50 }, (_, index) => String(index + 100))];
  fields[17] = '3';
  fields[19] = startTime;
  return `${pid} (${comm}) ${fields.join(' ')}\n`;
}

describe('parseStat', () => {
  it('reads a line', () => {
    expect(parseStat(line(42, 'sh', 'S', '123456789012345678'))).toEqual({
      pid: 42,
      comm: 'sh',
      startTime: 123456789012345678n,
      parentPid: 7,
      threads: 3,
      leaderEnded: false,
    });
  });

  it.each([
    ['Z', true],
    ['X', true],
    ['R', false],
    ['I', false],
    ['t', false],
  ])('state %s: ended is %s', (state, leaderEnded) => {
    expect(parseStat(line(1, 'x', state, '0'))?.leaderEnded).toBe(leaderEnded);
  });

  it.each(['', 'x', '12', '12 (sh', '12 )( S', '12 (sh) S', '12 (sh) S 1 2 3', line(12, 'sh', 'S', '-')])(
    'refuses %o',
    (text) => {
      expect(parseStat(text)).toBeUndefined();
    },
  );

  it('keeps a start time wider than a double', () => {
    expect(parseStat(line(1, 'x', 'S', '18446744073709551615'))?.startTime).toBe(2n ** 64n - 1n);
  });

  it('is not led astray by any comm', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 15 }), (comm) => {
        expect(parseStat(line(5, comm, 'Z', '99'))).toMatchObject({ pid: 5, comm, startTime: 99n, leaderEnded: true });
      }),
    );
    for (const comm of [') S 1 (', 'a) S 1 (b\n'])
      expect(parseStat(line(5, comm, 'Z', '99'))).toMatchObject({ comm, leaderEnded: true });
  });
});

describe('readProcess', () => {
  it('reads this process', () => {
    expect(readProcess('/proc', process.pid)).toMatchObject({
      pid: process.pid,
      parentPid: process.ppid,
      leaderEnded: false,
    });
  });

  it('finds no process that does not exist', () => {
    expect(readProcess('/nonexistent', 1)).toBeUndefined();
  });
});
