// Every failure names the call, the object, the errno and the remedy. None of these needs root.
import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { getSockOpt, lockFile, netnsCookie, setSockOptInt, SystemCallError } from '../src/index.js';

function failureOf(body: () => unknown): SystemCallError {
  try {
    body();
  } catch (error) {
    expect(error).toBeInstanceOf(SystemCallError);
    return error as SystemCallError;
  }
  throw new Error('it did not fail');
}

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'sluice-linux-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('errors', () => {
  it('reports a namespace path that does not exist', () => {
    const error = failureOf(() => netnsCookie('/proc/0/ns/net'));
    expect(error).toMatchObject({ name: 'SystemCallError', code: 'ENOENT', errno: 2, syscall: 'open' });
    expect(error.message).toBe(
      'open /proc/0/ns/net: ENOENT; it does not exist (a path under /proc/<pid> goes away with its process)',
    );
  });

  it('reports a socket option on something that is not a socket', () => {
    const fd = openSync('/dev/null', 'r');
    try {
      const error = failureOf(() => getSockOpt(fd, 1, 2, 4));
      expect(error).toMatchObject({ code: 'ENOTSOCK', syscall: 'getsockopt', object: `fd ${fd}, level 1, option 2` });
      expect(failureOf(() => setSockOptInt(fd, 1, 2, 4)).syscall).toBe('setsockopt');
    } finally {
      closeSync(fd);
    }
  });

  it('refuses to follow a symbolic link to a lock file', () => {
    const link = join(directory, 'link');
    symlinkSync(join(directory, 'elsewhere'), link);
    expect(failureOf(() => lockFile(link))).toMatchObject({ code: 'ELOOP', syscall: 'open' });
  });

  it('refuses wrong arguments before any system call', () => {
    expect(() => netnsCookie('/proc/self/ns/net\0/x')).toThrow(TypeError);
    expect(() => netnsCookie(7 as unknown as string)).toThrow('netnsPath must be a string');
    expect(() => getSockOpt(-1, 1, 1, 4)).toThrow(RangeError);
    expect(() => getSockOpt(1, 1, 1, 1e9)).toThrow('length must be an integer from 0 to 65536');
    expect(() => getSockOpt(1, 1, 1.5, 4)).toThrow(RangeError);
    expect(() => setSockOptInt(1, 1, 1, Number.NaN)).toThrow(RangeError);
  });

  it('says how to build an addon that is missing', () => {
    // A copy of the loader, without the addon.
    const loader = new URL('../src/native.ts', import.meta.url).pathname;
    const script = `
      const fs = require('node:fs');
      fs.mkdirSync('dist');
      const source = fs.readFileSync(${JSON.stringify(loader)}, 'utf8');
      fs.writeFileSync('dist/native.mts', source);`;
    execFileSync(process.execPath, ['-e', script], { cwd: directory });
    const run = (): Promise<unknown> => import(join(directory, 'dist/native.mts'));
    return expect(run()).rejects.toThrow('build it with `make -C packages/linux`');
  });
});
