// Seqpacket sockets between processes and users: permissions of the file, and identities that cannot be borrowed.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { requires } from '@sluice/testbed';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectSeqpacket, listenSeqpacket, type SeqpacketListener } from '../src/index.js';

const need = requires('root');
const index = JSON.stringify(new URL('../dist/index.js', import.meta.url).href);
/** "nobody" on every distribution. */
const nobody = 65_534;

function asNobody<Result>(body: () => Result): Result {
  process.seteuid?.(nobody);
  try {
    return body();
  } finally {
    process.seteuid?.(0);
  }
}

describe.skipIf(need.skip)(`seqpacket sockets between processes${need.label}`, () => {
  let directory: string;
  let path: string;
  let listener: SeqpacketListener;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'sluice-seqpacket-kernel-'));
    chmodSync(directory, 0o755);
    path = join(directory, 'socket');
    listener = listenSeqpacket(path);
  });
  afterEach(() => {
    listener.close();
    rmSync(directory, { recursive: true, force: true });
  });

  it('are closed to other users, who cannot replace them either', () => {
    expect(() => asNobody(() => connectSeqpacket(path))).toThrow(expect.objectContaining({ code: 'EACCES' }));
    expect(() => asNobody(() => listenSeqpacket(path))).toThrow(expect.objectContaining({ code: 'EADDRINUSE' }));
    connectSeqpacket(path).close();
  });

  it('say who connected, even when another process sends', async () => {
    const accepting = listener.accept();
    const program = `import { connectSeqpacket } from ${index};
      const connection = connectSeqpacket(process.argv[1]);
      await connection.send(Buffer.from('x')); await connection.receive(); connection.close();`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program, path], { stdio: 'inherit' });
    const connection = await accepting;
    expect(connection?.peer).toEqual({ pid: child.pid, uid: 0, gid: 0 });
    expect((await connection?.receive())?.sender).toEqual({ pid: child.pid, uid: 0, gid: 0 });
    const fdinfo = (): string => readFileSync(`/proc/self/fdinfo/${connection?.peerPidfd?.fd}`, 'utf8');
    expect(fdinfo()).toMatch(new RegExp(`\\nPid:\\s+${child.pid}\\n`));
    const [major = 0, minor = 0] = release().split('.').map(Number);
    expect(connection?.peerPidfdFromSocket).toBe(major > 6 || (major === 6 && minor >= 5));
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    await exit;
    // The process was killed: the connection ends, and the pidfd still means that process and no other. -1: it is gone.
    expect(await connection?.receive()).toBeUndefined();
    expect(fdinfo()).toMatch(/\nPid:\s+-1\n/);
    connection?.close();
  });

  it('end for the server when the client is killed with packets unread', async () => {
    const accepting = listener.accept();
    const program = `import { connectSeqpacket } from ${index};
      globalThis.connection = connectSeqpacket(process.argv[1]);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program, path], { stdio: 'inherit' });
    const connection = await accepting;
    await connection?.send(Buffer.from('never read'));
    child.kill('SIGKILL');
    await expect(connection?.receive()).rejects.toMatchObject({ code: 'ECONNRESET', syscall: 'recvmsg' });
    connection?.close();
  });
});
