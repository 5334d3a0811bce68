// A lock file with several holders: in one process, across processes, and after a death.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { lockFile } from '../src/index.js';

let directory: string;
let path: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'sluice-lock-'));
  path = join(directory, 'agent.lock');
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const openFiles = (): number => readdirSync('/proc/self/fd').length;

describe('lockFile', () => {
  it('has one holder, and the next one after that has closed it', () => {
    const first = lockFile(path);
    expect(first).toBeDefined();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(lockFile(path)).toBeUndefined();
    first?.close();
    first?.close();
    const second = lockFile(path);
    expect(second).toBeDefined();
    second?.[Symbol.dispose]();
    expect(existsSync(path)).toBe(true);
  });

  it('leaves no descriptor behind, held or refused', () => {
    const before = openFiles();
    for (let i = 0; i < 100; i++) {
      const lock = lockFile(path);
      expect(lockFile(path)).toBeUndefined();
      lock?.close();
    }
    expect(openFiles()).toBe(before);
  });

  it('is dropped when its holder is killed', async () => {
    // flock(1) is another implementation of the same lock.
    const holder = spawn('flock', ['--exclusive', path, 'sh', '-c', 'echo held; exec sleep 60'], {
      stdio: ['ignore', 'pipe', 'inherit'],
      detached: true,
    });
    try {
      await once(holder.stdout, 'data');
      expect(lockFile(path)).toBeUndefined();
    } finally {
      // The child shares the open file, so the whole process group has to go.
      process.kill(-(holder.pid ?? 0), 'SIGKILL');
      await once(holder, 'close');
    }
    // The kernel may release the lock after it has closed the pipe whose end shows that the child is gone.
    let lock: ReturnType<typeof lockFile>;
    await expect.poll(() => (lock = lockFile(path))).toBeDefined();
    lock?.close();
  });
});
