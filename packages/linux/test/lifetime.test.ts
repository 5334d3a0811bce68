// Who owns what: a lock that is forgotten or whose thread ends is dropped, and the addon works in every thread.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const index = JSON.stringify(new URL('../dist/index.js', import.meta.url).href);
let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'sluice-lifetime-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function run(program: string, ...options: string[]): string {
  const words = [...options, '--input-type=module', '-e', program, join(directory, 'lock')];
  return execFileSync(process.execPath, words, { encoding: 'utf8' });
}

describe('lifetimes', () => {
  it('drops a lock that is collected', () => {
    const program = `
      import { lockFile } from ${index};
      let lock = lockFile(process.argv[1]);
      const before = lockFile(process.argv[1]);
      lock = undefined;
      let after;
      for (let i = 0; i < 50 && after === undefined; i++) {
        globalThis.gc();
        await new Promise((resolve) => setImmediate(resolve));
        after = lockFile(process.argv[1]);
      }
      process.stdout.write([before === undefined, after !== undefined].join(' '));`;
    expect(run(program, '--expose-gc')).toBe('true true');
  });

  it('drops a worker’s lock when the worker ends', () => {
    const program = `
      import { Worker } from 'node:worker_threads';
      import { once } from 'node:events';
      import { lockFile } from ${index};
      // A worker that is given as text is a module too, as this program is.
      const source = \`
        import { parentPort, workerData } from 'node:worker_threads';
        import { lockFile } from ${index};
        globalThis.lock = lockFile(workerData);
        parentPort.postMessage(globalThis.lock !== undefined);
        setInterval(() => undefined, 1000);\`;
      const worker = new Worker(source, { eval: true, workerData: process.argv[1] });
      const [held] = await once(worker, 'message');
      const refused = lockFile(process.argv[1]) === undefined;
      await worker.terminate();
      process.stdout.write([held, refused, lockFile(process.argv[1]) !== undefined].join(' '));`;
    expect(run(program)).toBe('true true true');
  });

  it('keeps no lock beyond the process, and does not keep the process alive', () => {
    const program = `import { lockFile } from ${index}; globalThis.lock = lockFile(process.argv[1]);
      process.stdout.write(String(globalThis.lock !== undefined));`;
    expect(run(program)).toBe('true');
    expect(run(program)).toBe('true');
  });
});
