// A socket that listens and answers nobody, and the length of a jiffy.
import { execFileSync } from 'node:child_process';
import { requires } from '@sluice/testbed';
import { describe, expect, it } from 'vitest';
import { getSockOpt, jiffyMicroseconds, Netns, setSockOptInt, silentListener, SystemCallError } from '../src/index.js';

const need = requires('root', 'netns');

// asm-generic/socket.h
const SOL_SOCKET = 1;
const SO_ACCEPTCONN = 30;
const SO_DETACH_FILTER = 27;
const SO_DOMAIN = 39;
const SO_NETNS_COOKIE = 71;
const AF_INET6 = 10;
// linux/in6.h
const SOL_IPV6 = 41;
const IPV6_V6ONLY = 26;

describe.skipIf(need.skip)(`a silent listener${need.label}`, () => {
  const option = (fd: number, name: number): number => getSockOpt(fd, SOL_SOCKET, name, 4).readInt32LE();

  it('listens for both families, in a namespace that nothing else is in', () => {
    using socket = silentListener();
    using other = silentListener();
    using here = Netns.open('/proc/self/ns/net');
    expect([option(socket.fd, SO_ACCEPTCONN), option(socket.fd, SO_DOMAIN)]).toEqual([1, AF_INET6]);
    expect(getSockOpt(socket.fd, SOL_IPV6, IPV6_V6ONLY, 4).readInt32LE()).toBe(0);
    const cookies = [socket, other].map(({ fd }) => getSockOpt(fd, SOL_SOCKET, SO_NETNS_COOKIE, 8).readBigUInt64LE());
    expect(new Set([...cookies, here.cookie]).size).toBe(3);
  });

  it('keeps its filter, whoever has it', () => {
    using socket = silentListener();
    expect(() => setSockOptInt(socket.fd, SOL_SOCKET, SO_DETACH_FILTER, 0)).toThrow(SystemCallError);
  });

  it('does not move this process into its namespace, and is gone when it is closed', () => {
    const namespaces = (): string => execFileSync('readlink', ['/proc/self/ns/net'], { encoding: 'utf8' });
    const before = namespaces();
    const socket = silentListener();
    expect(namespaces()).toBe(before);
    socket.close();
    expect(() => option(socket.fd, SO_ACCEPTCONN)).toThrow();
  });
});

describe('a jiffy', () => {
  it('is the second divided by a frequency that Linux can be built with', () => {
    const hertz = Math.round(1_000_000 / jiffyMicroseconds());
    expect([24, 48, 100, 128, 200, 250, 256, 300, 1000, 1024, 1200]).toContain(hertz);
  });
});
