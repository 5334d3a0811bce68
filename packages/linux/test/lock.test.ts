// A lock file with several holders: in one process, across processes, and after a death.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { lockFile, waitForLock } from '../src/index.js';

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

describe('waitForLock', () => {
  it('has the lock at once when nobody holds it, and holds it until it is closed', async () => {
    const wait = waitForLock(path);
    await wait.held;
    expect(lockFile(path)).toBeUndefined();
    wait.close();
    wait.close();
    lockFile(path)?.close();
  });

  it('has it when its holder closes it, in this process or by the end of another', async () => {
    const first = lockFile(path);
    const second = waitForLock(path);
    let isHeld = false;
    void second.held.then(() => (isHeld = true));
    expect(isHeld).toBe(false);
    first?.close();
    await second.held;
    second.close();

    const holder = spawn('flock', ['--exclusive', path, 'sh', '-c', 'echo held; exec sleep 60'], {
      stdio: ['ignore', 'pipe', 'inherit'],
      detached: true,
    });
    await once(holder.stdout, 'data');
    using third = waitForLock(path);
    process.kill(-(holder.pid ?? 0), 'SIGKILL');
    await third.held;
    expect(lockFile(path)).toBeUndefined();
  });

  it('passes from one to the next, and one that has given up never has it', async () => {
    const first = lockFile(path);
    const waits = Array.from({ length: 6 }, () => waitForLock(path));
    const order: number[] = [];
    const others = waits.flatMap((wait, i) =>
      i % 2 === 0 ? [] : [wait.held.then(() => (order.push(i), wait.close()))],
    );
    waits.forEach((wait, i) => {
      if (i % 2 === 0) wait.close();
    });
    first?.close();
    await Promise.all(others);
    expect(order.toSorted((a, b) => a - b)).toEqual([1, 3, 5]);
    // A thread that has it for nobody drops it at once.
    await expect
      .poll(() => {
        using lock = lockFile(path);
        return lock !== undefined;
      })
      .toBe(true);
  });

  it('fails when the file cannot be opened', () => {
    expect(() => waitForLock(join(directory, 'absent', 'lock'))).toThrow(/ENOENT/);
  });
});
