// Seqpacket sockets, both ends in this process: packets, descriptors, identities, bounds, and who owns what.
import {
  closeSync,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { connect as connectStream, createServer } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  connectSeqpacket,
  errorCode,
  listenSeqpacket,
  SystemCallError,
  type SeqpacketConnection,
  type SeqpacketListener,
} from '../src/index.js';

let directory: string;
let path: string;
const open: Disposable[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'sluice-seqpacket-'));
  path = join(directory, 'zds.sock');
});
afterEach(() => {
  for (const one of open.splice(0)) one[Symbol.dispose]();
  rmSync(directory, { recursive: true, force: true });
});

function owned<One extends Disposable>(one: One): One {
  open.push(one);
  return one;
}
const openDescriptors = (): number => readdirSync('/proc/self/fd').length;

async function pair(): Promise<{
  listener: SeqpacketListener;
  server: SeqpacketConnection;
  client: SeqpacketConnection;
}> {
  const listener = owned(listenSeqpacket(path));
  const accepted = listener.accept();
  const client = owned(connectSeqpacket(path));
  const server = await accepted;
  if (server === undefined) throw new Error('the listener is closed');
  return { listener, server: owned(server), client };
}

function thrown(body: () => unknown): SystemCallError {
  try {
    body();
  } catch (error) {
    if (error instanceof SystemCallError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

const codeOf = (fate: PromiseSettledResult<unknown>): string | undefined =>
  fate.status === 'rejected' ? errorCode(fate.reason) : 'sent';

describe('packets', () => {
  it('keeps the bounds of packets, in both directions', async () => {
    const { server, client } = await pair();
    await client.send(Buffer.from('one'));
    await client.send(Buffer.from('two'));
    await server.send(Buffer.from('three'));
    expect((await server.receive())?.bytes.toString()).toBe('one');
    expect((await server.receive())?.bytes.toString()).toBe('two');
    expect((await client.receive())?.bytes.toString()).toBe('three');
  });

  it('tells an empty packet from the end', async () => {
    const { server, client } = await pair();
    await client.send(Buffer.alloc(0));
    await client.send(Buffer.from('after'));
    client.close();
    expect((await server.receive())?.bytes.length).toBe(0);
    expect((await server.receive())?.bytes.toString()).toBe('after');
    expect(await server.receive()).toBeUndefined();
    expect(await server.receive()).toBeUndefined();
  });

  it('reads a half-close as the end, and can still send', async () => {
    const { server, client } = await pair();
    client.endSending();
    expect(await server.receive()).toBeUndefined();
    await server.send(Buffer.from('late'));
    expect((await client.receive())?.bytes.toString()).toBe('late');
    await expect(client.send(Buffer.from('no'))).rejects.toMatchObject({ code: 'EPIPE', syscall: 'sendmsg' });
  });

  it('reports that a packet was longer than its bound, and goes on with the next', async () => {
    const { server, client } = await pair();
    await client.send(Buffer.alloc(1025, 1));
    await client.send(Buffer.alloc(1024, 2));
    const long = await server.receive({ maxBytes: 1024 });
    expect([long?.bytes.length, long?.truncated]).toEqual([1024, true]);
    const whole = await server.receive({ maxBytes: 1024 });
    expect([whole?.bytes.length, whole?.truncated, whole?.bytes[0]]).toEqual([1024, false, 2]);
  });

  it('waits for room when the peer does not read, keeps the order, and settles every send', async () => {
    const { server, client } = await pair();
    const count = 2000;
    const sends = Array.from({ length: count }, (_, i) => {
      const bytes = Buffer.alloc(1024);
      bytes.writeUInt32LE(i);
      return client.send(bytes);
    });
    for (let i = 0; i < count; i++) expect((await server.receive())?.bytes.readUInt32LE()).toBe(i);
    await Promise.all(sends);
  });

  it('rejects what waits for room when the connection is closed, or the peer goes away', async () => {
    const { server, client } = await pair();
    const full = Array.from({ length: 500 }, () => client.send(Buffer.alloc(4096)));
    const fates = Promise.allSettled(full);
    client.close();
    const codes = new Set((await fates).map(codeOf));
    expect(codes).toEqual(new Set(['sent', 'ECANCELED']));

    const second = Array.from({ length: 500 }, () => server.send(Buffer.alloc(4096)));
    const reasons = (await Promise.allSettled(second)).map(codeOf);
    expect(new Set(reasons)).toEqual(new Set(['EPIPE']));
    await expect(client.send(Buffer.from('x'))).rejects.toMatchObject({ code: 'EBADF' });
  });

  it('rejects waiting sends when the peer leaves without having read', async () => {
    const { server, client } = await pair();
    const full = Promise.allSettled(Array.from({ length: 500 }, () => client.send(Buffer.alloc(4096))));
    server.close();
    const codes = new Set((await full).map(codeOf));
    expect([...codes].every((code) => ['sent', 'EPIPE', 'ECONNRESET'].includes(code ?? ''))).toBe(true);
    expect(codes.size).toBeGreaterThan(1);
  });

  it('refuses a packet that does not fit the send buffer', async () => {
    const { client } = await pair();
    await expect(client.send(Buffer.alloc(1 << 22))).rejects.toMatchObject({ code: 'EMSGSIZE' });
  });

  it('sees what waits without taking it', async () => {
    const { server, client } = await pair();
    expect(server.readable()).toBe(false);
    await client.send(Buffer.from('x'));
    expect(server.readable()).toBe(true);
    const receiving = server.receive();
    expect(server.readable()).toBe(true);
    await receiving;
    expect(server.readable()).toBe(false);
    client.close();
    expect(server.readable()).toBe(true);
  });
});

describe('descriptors', () => {
  it('arrive as descriptors of the same file, close-on-exec, and are closed once', async () => {
    const { server, client } = await pair();
    const file = openSync('/proc/self/ns/net', 'r');
    await client.send(Buffer.from('x'), [file]);
    closeSync(file);
    const packet = await server.receive({ maxFds: 1 });
    const fd = packet?.fds[0];
    if (fd === undefined) throw new Error('no descriptor came');
    expect(fstatSync(fd.fd).ino).toBe(statSync('/proc/self/ns/net').ino);
    // FD_CLOEXEC: O_CLOEXEC (02000000) in the flags of proc_pid_fdinfo(5).
    const { readFileSync } = await import('node:fs');
    expect(readFileSync(`/proc/self/fdinfo/${fd.fd}`, 'utf8')).toMatch(/flags:\s+0?2\d{6}/);
    const number = fd.fd;
    fd.close();
    fd.close();
    expect(fd.fd).toBe(-1);
    expect(() => fstatSync(number)).toThrow('EBADF');
  });

  it('that wait for room no longer depend on the sender’s', async () => {
    const { server, client } = await pair();
    const filling: Promise<void>[] = [];
    for (let i = 0; i < 300; i++) filling.push(client.send(Buffer.alloc(4096)));
    const file = openSync('/proc/self/ns/net', 'r');
    const sending = client.send(Buffer.from('netns'), [file]);
    closeSync(file);
    // The same number for another file: that file must not arrive.
    const other = openSync('/dev/null', 'r');
    for (let i = 0; i < 300; i++) await server.receive();
    const packet = await server.receive({ maxFds: 1 });
    closeSync(other);
    await sending;
    await Promise.all(filling);
    expect(fstatSync(packet?.fds[0]?.fd ?? -1).ino).toBe(statSync('/proc/self/ns/net').ino);
    packet?.close();
  });

  it('never enter this process when none are wanted', async () => {
    const { server, client } = await pair();
    const file = openSync('/dev/null', 'r');
    await client.send(
      Buffer.from('x'),
      Array.from({ length: 253 }, () => file),
    );
    const before = openDescriptors();
    const packet = await server.receive();
    expect(packet?.fds).toEqual([]);
    expect(packet?.controlTruncated).toBe(true);
    expect(packet?.bytes.toString()).toBe('x');
    expect(openDescriptors()).toBe(before);
    closeSync(file);
  });

  it.each([1, 2, 3, 252])('are cut to the bound of %i', async (maxFds) => {
    const { server, client } = await pair();
    const file = openSync('/dev/null', 'r');
    const before = openDescriptors();
    await client.send(
      Buffer.from('x'),
      Array.from({ length: maxFds + 1 }, () => file),
    );
    const packet = await server.receive({ maxFds });
    expect([packet?.fds.length, packet?.controlTruncated]).toEqual([maxFds, true]);
    expect(openDescriptors()).toBe(before + maxFds);
    packet?.close();
    expect(openDescriptors()).toBe(before);
    closeSync(file);
  });

  it('are refused if they are not open', async () => {
    const { client } = await pair();
    await expect(client.send(Buffer.from('x'), [987_654])).rejects.toMatchObject({ code: 'EBADF', syscall: 'sendmsg' });
    await expect(client.send(Buffer.from('x'), [-1])).rejects.toThrow(RangeError);
    await expect(
      client.send(
        Buffer.from('x'),
        Array.from({ length: 254 }, () => 0),
      ),
    ).rejects.toThrow('SCM_MAX_FD');
  });

  it('of a packet that nobody awaits any more are closed', async () => {
    const { server, client } = await pair();
    const before = openDescriptors();
    const receiving = server.receive({ maxFds: 4 });
    const file = openSync('/dev/null', 'r');
    await client.send(Buffer.from('x'), [file, file]);
    // Busy until the other thread has received it; the completion is then on its way while the socket closes.
    while (openDescriptors() < before + 3);
    server.close();
    closeSync(file);
    expect(await receiving).toBeUndefined();
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    // The server's own socket and the pidfd of its peer are closed too.
    expect(openDescriptors()).toBe(before - 2);
  });
});

describe('identity', () => {
  it('says who is at the other end, and who sent the packet', async () => {
    const { server, client } = await pair();
    const self = { pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() };
    expect(server.peer).toEqual(self);
    expect(client.peer).toEqual(self);
    await client.send(Buffer.from('x'));
    expect((await server.receive())?.sender).toEqual(self);
  });

  it('hands out a pidfd that is closed with the connection', async () => {
    const { readFileSync } = await import('node:fs');
    const { server } = await pair();
    const pidfd = server.peerPidfd;
    expect(readFileSync(`/proc/self/fdinfo/${pidfd?.fd}`, 'utf8')).toMatch(new RegExp(`Pid:\\s+${process.pid}\\n`));
    server.close();
    expect(pidfd?.fd).toBe(-1);
  });
});

describe('the socket file', () => {
  it('is only the owner’s, and goes with the listener', () => {
    const listener = listenSeqpacket(path);
    expect(statSync(path).mode & 0o7777).toBe(0o600);
    listener.close();
    listener.close();
    expect(() => statSync(path)).toThrow('ENOENT');
  });

  it('with a listener is not taken', () => {
    owned(listenSeqpacket(path));
    const error = thrown(() => listenSeqpacket(path));
    expect(error).toMatchObject({ code: 'EADDRINUSE', syscall: 'bind' });
    expect(error.message).toContain('a process is listening on it');
    connectSeqpacket(path).close();
  });

  it('with a full queue is not taken for a dead one', () => {
    owned(listenSeqpacket(path, { backlog: 0 }));
    owned(connectSeqpacket(path));
    expect(thrown(() => connectSeqpacket(path))).toMatchObject({ code: 'EAGAIN', syscall: 'connect' });
    expect(thrown(() => listenSeqpacket(path))).toMatchObject({ code: 'EADDRINUSE' });
  });

  it('of another type of socket is not taken', async () => {
    const server = createServer();
    server.listen(path);
    await once(server, 'listening');
    expect(thrown(() => listenSeqpacket(path))).toMatchObject({ code: 'EADDRINUSE' });
    expect(thrown(() => connectSeqpacket(path))).toMatchObject({ code: 'EPROTOTYPE' });
    connectStream(path).destroy();
    server.close();
    await once(server, 'close');
  });

  it('that a dead process left is replaced', async () => {
    const { execFileSync } = await import('node:child_process');
    const index = JSON.stringify(new URL('../dist/index.js', import.meta.url).href);
    const program = `import { listenSeqpacket } from ${index}; listenSeqpacket(process.argv[1]); process.kill(process.pid, 'SIGKILL');`;
    expect(() => execFileSync(process.execPath, ['--input-type=module', '-e', program, path])).toThrow();
    expect(statSync(path).isSocket()).toBe(true);
    expect(thrown(() => connectSeqpacket(path))).toMatchObject({ code: 'ECONNREFUSED' });
    owned(listenSeqpacket(path));
    connectSeqpacket(path).close();
  });

  it('is never a file or a directory that was there', () => {
    writeFileSync(path, 'precious');
    expect(thrown(() => listenSeqpacket(path)).message).toContain('not a socket');
    expect(statSync(path).size).toBe(8);
    mkdirSync(join(directory, 'd'));
    expect(thrown(() => listenSeqpacket(join(directory, 'd')))).toMatchObject({ code: 'EADDRINUSE' });
  });

  it('of a successor is left alone by its predecessor', () => {
    const first = owned(listenSeqpacket(path));
    rmSync(path);
    owned(listenSeqpacket(path));
    first.close();
    connectSeqpacket(path).close();
  });

  it('passes to a successor that takes its place, and every connect() meets one of the two', async () => {
    const refused: unknown[] = [];
    const serve = async (listener: SeqpacketListener): Promise<void> => {
      for (let one = await listener.accept(); one !== undefined; one = await listener.accept()) {
        one.close();
      }
    };
    const dial = (): void => {
      try {
        connectSeqpacket(path).close();
      } catch (error) {
        if (errorCode(error) !== 'EAGAIN') refused.push(error);
      }
    };
    let present = owned(listenSeqpacket(path));
    const serving = [serve(present)];
    for (let generation = 0; generation < 20; generation++) {
      dial();
      const next = owned(listenSeqpacket(path, { replace: true }));
      dial();
      serving.push(serve(next));
      present.close();
      dial();
      present = next;
    }
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(directory)).toEqual(['zds.sock']);
    present.close();
    await Promise.all(serving);
    expect(refused).toEqual([]);
    expect(readdirSync(directory)).toEqual([]);
  });

  it('that a successor replaces is a socket, or nothing', () => {
    mkdirSync(path);
    expect(thrown(() => listenSeqpacket(path, { replace: true })).code).toBe('EADDRINUSE');
    rmSync(path, { recursive: true });
    owned(listenSeqpacket(path, { replace: true }));
    expect(statSync(path).isSocket()).toBe(true);
  });

  it('needs a name that fits, in a directory that exists', () => {
    expect(thrown(() => listenSeqpacket(join(directory, 'x'.repeat(120))))).toMatchObject({ code: 'ENAMETOOLONG' });
    expect(thrown(() => listenSeqpacket(join(directory, 'absent', 'x')))).toMatchObject({ code: 'ENOENT' });
    expect(thrown(() => connectSeqpacket(join(directory, 'absent')))).toMatchObject({ code: 'ENOENT' });
    expect(() => listenSeqpacket(`${path}\0`)).toThrow(TypeError);
  });
});

describe('closing', () => {
  it('settles what waits', async () => {
    const { listener, server } = await pair();
    const accepting = listener.accept();
    const receiving = server.receive();
    await expect(listener.accept()).rejects.toThrow('another call is under way');
    await expect(server.receive()).rejects.toThrow('another call is under way');
    listener.close();
    server.close();
    expect(await accepting).toBeUndefined();
    expect(await receiving).toBeUndefined();
    expect(await server.receive()).toBeUndefined();
    expect(await listener.accept()).toBeUndefined();
    expect([listener.closed, server.closed]).toEqual([true, true]);
  });

  it('leaves no descriptor behind after a hundred connections', async () => {
    const listener = owned(listenSeqpacket(path));
    connectSeqpacket(path).close();
    (await listener.accept())?.close();
    const before = openDescriptors();
    for (let i = 0; i < 100; i++) {
      const client = connectSeqpacket(path);
      const server = await listener.accept();
      await client.send(Buffer.from('x'));
      (await server?.receive())?.close();
      server?.close();
      client.close();
    }
    expect(openDescriptors()).toBe(before);
  });
});
