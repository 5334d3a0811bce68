// The gate must be right about this machine and must never let CI skip.
import { afterEach, expect, test, vi } from 'vitest';
import { findProgram, requires, type Need } from '../src/index.js';

afterEach(() => vi.unstubAllEnvs());

test('nothing needed, nothing skipped', () => {
  expect(requires()).toEqual({ skip: false, label: '' });
});

test('a missing need is named in the label, and is an error on CI', () => {
  vi.stubEnv('PATH', '');
  const missing = (['qemu', 'busybox', 'runc', 'root', 'bpf'] satisfies Need[]).find((need) => {
    vi.stubEnv('CI', '');
    return requires(need).skip;
  });
  if (missing === undefined) return;
  expect(requires(missing).label).toBe(` [skipped: needs ${missing}]`);
  vi.stubEnv('CI', 'true');
  expect(() => requires(missing)).toThrow(`needs ${missing}`);
});

test('programs are found in sbin although PATH does not have it', () => {
  vi.stubEnv('PATH', '');
  expect(findProgram('no-such-program')).toBeUndefined();
});
