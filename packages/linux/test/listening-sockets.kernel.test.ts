// Another process's listeners, in namespaces that none of its threads is in.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { findProgram, LineProcess, requires } from '@sluice/testbed';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { checkPidfdGetfd, getSockOpt, listeningSockets, netnsCookie, type ListeningSocket } from '../src/index.js';
import { failureOf, NamedNetns } from './support/plumbing.js';

const need = requires('root', 'netns');
/** What the Makefile builds from native/test/listeners.cc. */
const LISTENERS = fileURLToPath(new URL('../build/test/listeners', import.meta.url));
const SOL_SOCKET = 1;
const SO_ACCEPTCONN = 30;

describe.skipIf(need.skip)(`listening sockets of another process${need.label}`, () => {
  let namespaces: NamedNetns[] = [];
  const processes: LineProcess[] = [];
  const found: ListeningSocket[] = [];
  beforeAll(() => {
    namespaces = [new NamedNetns(), new NamedNetns()];
  });
  afterEach(async () => {
    for (const socket of found.splice(0)) socket.close();
    for (const process of processes.splice(0)) await process.stop();
  });
  afterAll(() => {
    for (const netns of namespaces) netns.remove();
  });

  /** @param places `<index of the namespace>,<4|6>,<port>` */
  async function start(noise: number, ...places: string[]): Promise<{ process: LineProcess; cookies: bigint[] }> {
    const at = places.map((place) => place.replace(/^\d/, (index) => namespaces[Number(index)]?.path ?? ''));
    const process = await LineProcess.start([LISTENERS, String(noise), ...at]);
    processes.push(process);
    const [, ...cookies] = (await process.lineMatching(/^ready/)).split(' ');
    return { process, cookies: cookies.map(BigInt) };
  }

  function look(...request: Parameters<typeof listeningSockets>): ListeningSocket[] {
    const sockets = listeningSockets(...request);
    found.push(...sockets);
    return sockets;
  }

  it('finds those of every namespace among other sockets', async () => {
    const { process, cookies } = await start(30, '0,6,15001', '0,6,15006', '1,6,15001', '1,4,15053', '1,4,15053');
    const [one, two] = namespaces.map(({ path }) => netnsCookie(path));
    const facts = look(process.pid).map(({ port, family, netnsCookie: cookie, socketCookie }) => ({
      port,
      family,
      cookie,
      socketCookie,
    }));
    expect(facts).toEqual([
      { port: 15001, family: 6, cookie: one, socketCookie: cookies[0] },
      { port: 15006, family: 6, cookie: one, socketCookie: cookies[1] },
      { port: 15001, family: 6, cookie: two, socketCookie: cookies[2] },
      // Two listeners on one port, by SO_REUSEPORT, count as two.
      { port: 15053, family: 4, cookie: two, socketCookie: cookies[3] },
      { port: 15053, family: 4, cookie: two, socketCookie: cookies[4] },
    ]);
    for (const { fd } of found) expect(getSockOpt(fd, SOL_SOCKET, SO_ACCEPTCONN, 4).readInt32LE()).toBe(1);
  });

  it('finds those on the requested ports, and opens nothing else', async () => {
    const { process, cookies } = await start(30, '0,6,15001', '0,6,15006', '1,6,15001');
    const before = openDescriptors();
    expect(look(process.pid, { ports: [] })).toEqual([]);
    expect(look(process.pid, { ports: [15008] })).toEqual([]);
    expect(openDescriptors()).toEqual(before);
    const sockets = look(process.pid, { ports: [15001, 15008] });
    expect(sockets.map(({ socketCookie }) => socketCookie)).toEqual([cookies[0], cookies[2]]);
    expect(openDescriptors()).toHaveLength(before.length + 2);
    for (const { fd } of sockets) expect(flagsOf(fd) & 0o2000000).not.toBe(0); // O_CLOEXEC
    for (const socket of sockets) socket.close();
    expect(openDescriptors()).toEqual(before);
    expect(sockets[0]?.fd).toBe(-1);
  });

  it('sees a listener go that its process closed, unless somebody keeps a duplicate', async () => {
    const { process, cookies } = await start(0, '0,6,15001', '0,6,15006');
    const [kept] = look(process.pid, { ports: [15001] });
    process.writeLine('close');
    await process.lineMatching(/^closed/);
    expect(look(process.pid).map(({ socketCookie }) => socketCookie)).toEqual([cookies[1]]);
    const listening = (): boolean =>
      /:15001 /.test(execFileSync('ss', ['-Hltn', '-N', namespaces[0]?.name ?? '']).toString());
    expect(listening()).toBe(true);
    kept?.close();
    expect(listening()).toBe(false);
  });

  it('can make its system calls', () => {
    expect(() => checkPidfdGetfd()).not.toThrow();
  });

  it('reports that the process has ended', async () => {
    const { process } = await start(0, '0,6,15001');
    await process.stop();
    expect(failureOf(() => listeningSockets(process.pid))).toMatchObject({ code: 'ESRCH', syscall: 'pidfd_open' });
    expect(failureOf(() => listeningSockets(process.pid)).message).toContain('the process has ended');
  });

  it('refuses what is not a pidfd, a pid, a port or a proc mount', async () => {
    const { process } = await start(0, '0,6,15001');
    expect(failureOf(() => listeningSockets(process.pid, { pidfd: 1 << 20 })).code).toBe('EBADF');
    expect(() => listeningSockets(0)).toThrow(RangeError);
    expect(() => listeningSockets(process.pid, { ports: [0] })).toThrow(RangeError);
    expect(failureOf(() => listeningSockets(process.pid, { procPath: '/nowhere' }))).toMatchObject({
      code: 'ENOENT',
      syscall: 'opendir',
    });
  });

  const setpriv = findProgram('setpriv');
  it.skipIf(setpriv === undefined)('names the capability that it lacks', async () => {
    const { process: other } = await start(0, '0,6,15001');
    const code = `import(${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)}).then((linux) => {
      try { console.log(linux.listeningSockets(${other.pid}).length); } catch (error) { console.log(error.message); }
    });`;
    const argv = ['--bounding-set=-sys_ptrace', process.execPath, '--input-type=module', '-e', code];
    expect(execFileSync(setpriv ?? '', argv).toString()).toContain('CAP_SYS_PTRACE');
  });
});

function openDescriptors(): string[] {
  return readdirSync('/proc/self/fd');
}

function flagsOf(fd: number): number {
  return parseInt(/^flags:\t(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '', 8);
}
