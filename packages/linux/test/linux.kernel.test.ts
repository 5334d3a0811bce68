// Real namespaces and sockets, compared with what iproute2 and the kernel's own files say.
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { requires } from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { getSockOpt, Netns, netnsCookie, NetnsGoneError, setSockOptInt, SystemCallError } from '../src/index.js';

const need = requires('root', 'netns');

const ip = (...words: string[]): string => execFileSync('ip', words, { encoding: 'utf8' });

describe.skipIf(need.skip)(`network namespaces${need.label}`, () => {
  const name = `sluice-linux-${randomBytes(4).toString('hex')}`;
  const path = `/run/netns/${name}`;

  beforeAll(() => {
    ip('netns', 'add', name);
    ip('-n', name, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'other');
    // No address of the kernel's own, which would change from tentative to usable while a test looks.
    for (const device of ['eth0', 'other']) ip('-n', name, 'link', 'set', device, 'addrgenmode', 'none');
    for (const device of ['lo', 'eth0', 'other']) ip('-n', name, 'link', 'set', device, 'up');
    ip('-n', name, 'address', 'add', '10.66.7.2/24', 'dev', 'eth0', 'label', 'eth0:alias');
    ip('-n', name, 'address', 'add', '10.66.8.1', 'peer', '10.66.8.2/32', 'dev', 'eth0');
    ip('-n', name, 'address', 'add', '10.66.9.1/24', 'dev', 'eth0', 'scope', 'link');
    ip('-n', name, 'address', 'add', 'fd66::7:2/64', 'dev', 'eth0', 'nodad');
    const old = ['valid_lft', '3000', 'preferred_lft', '0'];
    ip('-n', name, 'address', 'add', '10.66.7.9/24', 'dev', 'eth0', ...old);
    ip('-n', name, 'address', 'add', 'fd66::7:9/64', 'dev', 'eth0', 'nodad', ...old);
    // Duplicate address detection waits for the device to be up.
    ip('-n', name, 'link', 'add', 'idle', 'type', 'veth', 'peer', 'name', 'idle-peer');
    ip('-n', name, 'address', 'add', 'fd66::8:1/64', 'dev', 'idle');
  });
  afterAll(() => {
    ip('netns', 'delete', name);
  });

  it('reads the addresses that iproute2 reads', () => {
    interface Link {
      ifindex: number;
      ifname: string;
      addr_info: {
        family: string;
        local: string;
        prefixlen: number;
        scope: string;
        deprecated?: true;
        tentative?: true;
        dadfailed?: true;
      }[];
    }
    const links = JSON.parse(ip('-n', name, '-json', 'address', 'show')) as Link[];
    const expected = links.flatMap((link) =>
      link.addr_info.map((info) => ({
        ifindex: link.ifindex,
        name: link.ifname,
        family: info.family === 'inet' ? 4 : 6,
        address: info.local,
        prefixLength: info.prefixlen,
        scope: info.scope,
        deprecated: info.deprecated ?? false,
        tentative: info.tentative ?? info.dadfailed ?? false,
      })),
    );
    using netns = Netns.open(path);
    const addresses = netns.addresses();
    expect(addresses).toHaveLength(expected.length);
    expect(addresses).toEqual(expect.arrayContaining(expected));
    expect(addresses.filter(({ deprecated }) => deprecated)).toHaveLength(2);
    expect(addresses.filter(({ tentative }) => tentative)).toMatchObject([{ address: 'fd66::8:1' }]);
    // Our end of the point-to-point link, and the interface's name, not its alias.
    expect(addresses).toContainEqual(expect.objectContaining({ address: '10.66.8.1', name: 'eth0', prefixLength: 32 }));
    expect(addresses).toContainEqual(expect.objectContaining({ address: 'fd66::7:2', family: 6, scope: 'global' }));
  });

  it('reads more addresses than one datagram holds', () => {
    const batch = Array.from(
      { length: 1000 },
      (_, i) => `address add fd66:0:0:1::${(i + 1).toString(16)}/64 dev eth0 nodad`,
    );
    execFileSync('ip', ['-n', name, '-batch', '-'], { input: `${batch.join('\n')}\n` });
    using netns = Netns.open(path);
    const found = new Set(netns.addresses().map(({ address }) => address));
    expect([...found].filter((address) => address.startsWith('fd66:0:0:1:'))).toHaveLength(1000);
  });

  it('makes a new one with a loopback, for as long as it is held', () => {
    const here = netnsCookie('/proc/self/ns/net');
    const made = Netns.create();
    expect(made.cookie).not.toBe(here);
    expect(netnsCookie(`/proc/self/fd/${made.fd}`)).toBe(made.cookie);
    expect(made.addresses()).toContainEqual(
      expect.objectContaining({ name: 'lo', address: '127.0.0.1', scope: 'host' }),
    );
    made.close();
    expect(made.fd).toBe(-1);
    using next = Netns.create();
    // It need not be a greater one: each CPU gives cookies from a range of its own (include/linux/cookie.h).
    expect([made.cookie, here]).not.toContain(next.cookie);
    expect(netnsCookie('/proc/self/ns/net')).toBe(here);
  });

  it('reads the namespace’s own cookie, which stays the same', () => {
    const cookie = netnsCookie(path);
    expect(netnsCookie(path)).toBe(cookie);
    expect(cookie).not.toBe(netnsCookie('/proc/self/ns/net'));
    using netns = Netns.open(path, cookie);
    const { dev, ino } = statSync(path, { bigint: true });
    expect(netns).toMatchObject({ path, cookie, inode: ino, identity: `${dev}:${ino}` });
  });

  it('says who owns it: our user namespace, or one below', async () => {
    const own = statSync('/proc/self/ns/user', { bigint: true });
    const ours = `${own.dev}:${own.ino}`;
    using netns = Netns.open(path);
    expect(netns.owner().identity).toBe(ours);
    const words = ['--user', '--map-root-user', '--net', 'sh', '-c', 'echo ready; exec sleep 600'];
    const child = spawn('unshare', words, { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      await once(child.stdout, 'data');
      const made = statSync(`/proc/${child.pid}/ns/user`, { bigint: true });
      using below = Netns.open(`/proc/${child.pid}/ns/net`);
      expect(below.owner()).toEqual({ identity: `${made.dev}:${made.ino}`, parent: ours });
    } finally {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  });

  it('leaves every thread of this process where it was, and no thread or descriptor behind', async () => {
    const threads = (): string[] =>
      readdirSync('/proc/self/task').map((task) => readlinkSync(`/proc/self/task/${task}/ns/net`));
    const before = { threads: threads().length, files: readdirSync('/proc/self/fd').length };
    for (let i = 0; i < 50; i++) {
      using netns = Netns.open(path);
      netns.addresses();
      expect(() => Netns.open(path, netns.cookie + 1n)).toThrow(NetnsGoneError);
      expect(() => Netns.open('/proc/self/ns/uts')).toThrow(SystemCallError);
    }
    // A joined thread is in /proc until the kernel has released it.
    const here = readlinkSync('/proc/self/ns/net');
    await expect.poll(threads).toEqual(Array.from({ length: before.threads }, () => here));
    expect(readdirSync('/proc/self/fd')).toHaveLength(before.files);
  });

  it('stays the same one, whatever its path leads to', () => {
    const short = `${name}-short`;
    ip('netns', 'add', short);
    using first = Netns.open(`/run/netns/${short}`);
    ip('netns', 'delete', short);
    ip('netns', 'add', short);
    try {
      using second = Netns.open(`/run/netns/${short}`);
      expect(second.cookie).not.toBe(first.cookie);
      expect(second.identity).not.toBe(first.identity);
      expect(netnsCookie(`/proc/self/fd/${first.fd}`)).toBe(first.cookie);
      ip('-n', short, 'link', 'set', 'lo', 'up');
      expect(first.addresses()).toEqual([]);
      expect(second.addresses()).not.toEqual([]);
    } finally {
      ip('netns', 'delete', short);
    }
  });

  it('distinguishes one that is gone, or was replaced by another, from one that cannot be opened', () => {
    const failureOf = (...args: Parameters<typeof Netns.open>): unknown => {
      try {
        Netns.open(...args).close();
      } catch (error) {
        return error;
      }
      return undefined;
    };
    const cookie = netnsCookie(path);
    expect(failureOf(path, cookie)).toBeUndefined();
    const other = failureOf(path, cookie + 1n);
    expect(other).toBeInstanceOf(NetnsGoneError);
    expect((other as Error).message).toBe(
      `open ${path} (cookie ${cookie + 1n}, now ${cookie}): ESTALE; the path leads to another network namespace by now, and what was there is gone`,
    );
    expect(failureOf('/proc/0/ns/net')).toBeInstanceOf(NetnsGoneError);
    const fifo = join(mkdtempSync(join(tmpdir(), 'sluice-netns-')), 'fifo');
    execFileSync('mkfifo', [fifo]);
    for (const wrong of ['/proc/self/ns/uts', '/etc/passwd', fifo]) {
      expect(failureOf(wrong)).not.toBeInstanceOf(NetnsGoneError);
      expect(() => Netns.open(wrong)).toThrow(`setns ${wrong}: EINVAL; the path is not a network namespace`);
    }
    rmSync(join(fifo, '..'), { recursive: true });
  });

  it('says what an unprivileged caller lacks', () => {
    const script = `
      import { netnsCookie } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)};
      process.setuid(65534);
      try { netnsCookie('/proc/self/ns/net'); } catch (error) { process.stdout.write(error.message); }`;
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    expect(output).toMatch(/^(setns|open) \/proc\/self\/ns\/net: (EPERM|EACCES); .*(CAP_SYS_ADMIN|CAP_SYS_PTRACE)/);
  });
});

describe.skipIf(need.skip)(`socket options${need.label}`, () => {
  // From asm-generic/socket.h and linux/tcp.h, linux/in.h.
  const SOL_SOCKET = 1;
  const SO_RCVBUF = 8;
  const SO_NETNS_COOKIE = 71;
  const SO_PEERCRED = 17;
  let server: Server;

  beforeAll(async () => {
    server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  afterAll(() => {
    server.close();
  });

  const descriptor = (owner: Server | Socket): number => (owner as unknown as { _handle: { fd: number } })._handle.fd;

  it('reads a value as long as the kernel made it', () => {
    const fd = descriptor(server);
    const cookie = getSockOpt(fd, SOL_SOCKET, SO_NETNS_COOKIE, 8);
    expect(cookie.readBigUInt64LE()).toBe(netnsCookie('/proc/self/ns/net'));
    expect(getSockOpt(fd, SOL_SOCKET, SO_RCVBUF, 128)).toHaveLength(4);
    expect(getSockOpt(fd, SOL_SOCKET, SO_PEERCRED, 6)).toHaveLength(6);
  });

  it('writes an integer, which the kernel doubles for a buffer', () => {
    const fd = descriptor(server);
    setSockOptInt(fd, SOL_SOCKET, SO_RCVBUF, 65_536);
    expect(getSockOpt(fd, SOL_SOCKET, SO_RCVBUF, 4).readInt32LE()).toBe(131_072);
  });

  it('names an option that a socket does not know', () => {
    expect(() => getSockOpt(descriptor(server), SOL_SOCKET, 9999, 4)).toThrow(
      'option 9999: ENOPROTOOPT; this socket or this kernel does not know the option',
    );
  });
});
