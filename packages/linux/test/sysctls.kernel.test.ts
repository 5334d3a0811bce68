// Sysctls of a namespace of the test’s own, and that those of the machine stay as they are.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { requires } from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readSysctl, writeSysctl } from '../src/index.js';
import { failureOf, NamedNetns } from './support/plumbing.js';

const need = requires('root', 'netns');

describe.skipIf(need.skip)(`sysctls${need.label}`, () => {
  let netns: NamedNetns;
  beforeAll(() => {
    netns = new NamedNetns();
  });
  afterAll(() => netns?.remove());
  const accept = 'net.ipv4.tcp_fwmark_accept';
  const here = (): string => readFileSync('/proc/sys/net/ipv4/tcp_fwmark_accept', 'utf8');

  it('writes the namespace’s own and returns what it was', () => {
    const outside = here();
    expect(readSysctl(netns.open, accept)).toBe('0');
    expect(writeSysctl(netns.open, accept, '1')).toEqual({ previous: '0', changed: true });
    expect(writeSysctl(netns.open, accept, '1')).toEqual({ previous: '1', changed: false });
    const inside = execFileSync('ip', ['netns', 'exec', netns.name, 'cat', '/proc/sys/net/ipv4/tcp_fwmark_accept']);
    expect(inside.toString()).toBe('1\n');
    expect(here()).toBe(outside);
    expect(writeSysctl(netns.open, accept, '0')).toEqual({ previous: '1', changed: true });
  });

  it('accepts names with dots in them', () => {
    netns.ip('link', 'add', 'eth0.7', 'type', 'veth', 'peer', 'name', 'far');
    expect(readSysctl(netns.open, 'net/ipv4/conf/eth0.7/rp_filter')).toMatch(/^[012]$/);
  });

  it('distinguishes a sysctl that is absent, a wrong value, and a name outside net', () => {
    expect(readSysctl(netns.open, 'net.ipv4.no_such_thing')).toBeUndefined();
    expect(failureOf(() => writeSysctl(netns.open, 'net.ipv4.no_such_thing', '1')).code).toBe('ENOENT');
    expect(failureOf(() => writeSysctl(netns.open, accept, 'many'))).toMatchObject({
      code: 'EINVAL',
      syscall: 'write',
    });
    expect(() => readSysctl(netns.open, 'kernel.hostname')).toThrow('kernel.hostname is no sysctl below net');
    expect(() => readSysctl(netns.open, 'net/../kernel/hostname')).toThrow(RangeError);
    expect(() => readSysctl(netns.open, 'net..ipv4')).toThrow(RangeError);
    expect(readSysctl(netns.open, accept, { procPath: '/nowhere' })).toBeUndefined();
  });
});
