// sluice-ready, by which a kubelet asks an agent.
import { createServer, type Server } from 'node:http';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runProgram, type CommandResult } from './program.js';

const PROGRAM = fileURLToPath(new URL('../build/sluice-ready', import.meta.url));

describe('sluice-ready', () => {
  let directory: string;
  let socket: string;
  let server: Server;
  let status = 200;
  let body = 'ready\n';
  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'sluice-ready-'));
    socket = join(directory, 'metrics.sock');
    server = createServer((request, response) => {
      response.writeHead(request.url === '/readyz' ? status : 404, { connection: 'close' });
      response.end(body);
    });
    await new Promise<void>((resolve) => server.listen(socket, resolve));
  });
  afterAll(() => {
    server.close();
    rmSync(directory, { recursive: true });
  });
  const ask = (...args: string[]): Promise<CommandResult> => runProgram([PROGRAM, ...args]);

  it('is content with a ready agent, and shows why one is not ready', async () => {
    expect(await ask(socket)).toMatchObject({ code: 0, stdout: 'ready\n' });
    status = 503;
    body = 'no ztunnel is connected\n';
    expect(await ask(socket)).toMatchObject({ code: 1, stdout: body });
    body = 'x'.repeat(100_000);
    expect((await ask(socket)).code).toBe(1);
    status = 200;
    expect((await ask(socket, '/elsewhere')).code).toBe(1);
  });

  it('says what is wrong when nobody answers', async () => {
    const absent = join(directory, 'absent.sock');
    expect(await ask(absent)).toMatchObject({
      code: 1,
      stderr: `sluice-ready: connect to ${absent}: No such file or directory\n`,
    });
    expect(await ask(`/${'x'.repeat(200)}`)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('File name too long'),
    });
    expect((await ask()).code).toBe(2);
  });
});
