// Sysctls of a network namespace (those below net.).
import { systemCall, unless } from './errors.js';
import { native } from './native.js';
import type { Netns } from './netns.js';

export interface SysctlOptions {
  /** Where a proc file system is mounted whose sys/net can be written; default '/proc'. */
  procPath?: string;
}

/** What a sysctl was before it was written, so that it can be restored. */
export interface SysctlWritten {
  previous: string;
  changed: boolean;
}

/**
 * The value of a sysctl such as 'net.ipv4.tcp_fwmark_accept', without the newline at its end. A name whose parts contain dots
 * is written with slashes, as for sysctl(8): 'net/ipv4/conf/eth0.7/rp_filter'.
 * @returns undefined if this kernel or namespace has no such sysctl (net.ipv6 without IPv6).
 */
export function readSysctl(netns: Netns, name: string, options: SysctlOptions = {}): string | undefined {
  const file = fileOf(name, options);
  return (
    unless(
      (): string | null => withoutNewline(native.readNetnsSysctl(netns.fd, netns.path, file)),
      (code) => (code === 'ENOENT' ? null : undefined),
    ) ?? undefined
  );
}

/**
 * Sets a sysctl, unless it has the value already, and returns what it was.
 * @throws SystemCallError ENOENT if there is no such sysctl; EINVAL if it does not accept the value; EROFS if /proc/sys is
 * mounted read-only, as in containers: see `procPath`; EACCES without CAP_NET_ADMIN.
 */
export function writeSysctl(netns: Netns, name: string, value: string, options: SysctlOptions = {}): SysctlWritten {
  const file = fileOf(name, options);
  const { fd, path } = netns;
  return systemCall(() => {
    const previous = withoutNewline(native.readNetnsSysctl(fd, path, file));
    const changed = previous !== value;
    if (changed) native.writeNetnsSysctl(fd, path, file, value);
    return { previous, changed };
  });
}

function withoutNewline(text: string): string {
  return text.endsWith('\n') ? text.slice(0, -1) : text;
}

function fileOf(name: string, { procPath = '/proc' }: SysctlOptions): string {
  const parts = name.split(name.includes('/') ? '/' : '.');
  const plain = parts.every((part) => part !== '' && part !== '.' && part !== '..');
  // Only those below net belong to the namespace; another one would be changed for the whole machine.
  if (!plain || parts.length < 2 || parts[0] !== 'net') throw new RangeError(`${name} is no sysctl below net`);
  return `${procPath}/sys/${parts.join('/')}`;
}
