// The life of a process and of a thread with seqpacket sockets: when it stays, when it may end, and what it leaves.
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

const index = JSON.stringify(new URL('../dist/index.js', import.meta.url).href);
let directory: string;
let path: string;
let count = 0;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'sluice-seqpacket-life-'));
});
beforeEach(() => {
  path = join(directory, `s${count++}`);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

async function run(program: string, ...options: string[]): Promise<string> {
  const text = `import { connectSeqpacket, listenSeqpacket } from ${index};
    const path = process.argv[1]; const say = (...words) => process.stdout.write(words.map(String).join(' '));
    ${program}`;
  const words = [...options, '--input-type=module', '-e', text, path];
  return (await promisify(execFile)(process.execPath, words)).stdout;
}

describe('a process with seqpacket sockets', () => {
  it('ends by itself once all are closed', async () => {
    expect(
      await run(`const listener = listenSeqpacket(path); const accepting = listener.accept();
        const client = connectSeqpacket(path); const server = await accepting;
        client.close(); say(await server.receive()); server.close(); listener.close();`),
    ).toBe('undefined');
    expect(existsSync(path)).toBe(false);
  });

  it('stays for an open one', async () => {
    expect(
      await run(`const listener = listenSeqpacket(path);
        setTimeout(() => { say('stayed'); listener.close(); }, 200).unref();`),
    ).toBe('stayed');
  });

  it('ends by exit() with sockets open and calls under way; the file that it leaves is replaced', async () => {
    expect(
      await run(`const listener = listenSeqpacket(path); const accepting = listener.accept();
        const client = connectSeqpacket(path); const server = await accepting;
        void listener.accept(); void server.receive(); void client.receive();
        for (let i = 0; i < 300; i++) void client.send(Buffer.alloc(4096));
        say('over'); process.exit(0);`),
    ).toBe('over');
    expect(await run(`const listener = listenSeqpacket(path); listener.close(); say('replaced');`)).toBe('replaced');
  });

  it('loses no descriptor to a packet that is collected', async () => {
    expect(
      await run(
        `import { openSync, readdirSync } from 'node:fs';
        const listener = listenSeqpacket(path); const accepting = listener.accept();
        const client = connectSeqpacket(path); const server = await accepting;
        const file = openSync('/dev/null', 'r');
        const open = () => readdirSync('/proc/self/fd').length;
        const before = open();
        for (let i = 0; i < 50; i++) { await client.send(Buffer.from('x'), [file]); await server.receive({ maxFds: 1 }); }
        for (let i = 0; i < 200 && open() > before; i++) { globalThis.gc(); await new Promise((r) => setImmediate(r)); }
        say(open() === before); process.exit(0);`,
        '--expose-gc',
      ),
    ).toBe('true');
  });

  it('has them in each of its threads, and a thread’s sockets end with it', async () => {
    expect(
      await run(`import { Worker } from 'node:worker_threads'; import { once } from 'node:events';
        import { existsSync } from 'node:fs';
        const source = \`import { listenSeqpacket } from ${index}; import { parentPort, workerData } from 'node:worker_threads';
          const listener = listenSeqpacket(workerData); parentPort.postMessage('up');
          for (;;) { const c = await listener.accept(); const p = await c.receive(); await c.send(p.bytes); }\`;
        const worker = new Worker(source, { eval: true, workerData: path });
        await once(worker, 'message');
        const client = connectSeqpacket(path); await client.send(Buffer.from('echo'));
        const answer = (await client.receive()).bytes.toString();
        await worker.terminate();
        say(answer, await client.receive(), existsSync(path)); client.close();`),
    ).toBe('echo undefined false');
  });
});
