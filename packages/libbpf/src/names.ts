// The kernel's numbered kinds, from number to name and back.
import { native } from './native.js';
import { refuse } from './error.js';

const EXTRA_ATTACH_TYPE_SPELLINGS: ReadonlyMap<string, string> = new Map([
  // The short spellings of bpftool and of ELF sections (bpftool-cgroup(8), libbpf's section table).
  ['ingress', 'cgroup_inet_ingress'],
  ['egress', 'cgroup_inet_egress'],
  ['sock_create', 'cgroup_inet_sock_create'],
  ['sock_release', 'cgroup_inet_sock_release'],
  ['sock_ops', 'cgroup_sock_ops'],
  ['sockops', 'cgroup_sock_ops'],
  ['device', 'cgroup_device'],
  ['sysctl', 'cgroup_sysctl'],
  ['getsockopt', 'cgroup_getsockopt'],
  ['setsockopt', 'cgroup_setsockopt'],
  ...['bind', 'connect', 'getpeername', 'getsockname'].flatMap((hook) =>
    ['4', '6'].map((family): [string, string] => [`${hook}${family}`, `cgroup_inet${family}_${hook}`]),
  ),
  ...['sendmsg', 'recvmsg'].flatMap((hook) =>
    ['4', '6'].map((family): [string, string] => [`${hook}${family}`, `cgroup_udp${family}_${hook}`]),
  ),
  ['post_bind4', 'cgroup_inet4_post_bind'],
  ['post_bind6', 'cgroup_inet6_post_bind'],
]);

/** 'cgroup_inet4_connect' for 10. The kernel's names in lower case without BPF_, as libbpf gives them. */
export function attachTypeName(number: number): string {
  return native.attachTypeNames[number] ?? `attach_type_${number}`;
}

/**
 * The number of an attach type. It may be spelt as in libbpf ('cgroup_inet4_connect'), as in the kernel
 * ('BPF_CGROUP_INET4_CONNECT') or in the short way of bpftool and of ELF sections ('connect4', 'cgroup/connect4').
 */
export function attachTypeNumber(name: string): number {
  const plain = name
    .toLowerCase()
    .replace(/^bpf_/, '')
    .replace(/^cgroup\//, '');
  const canonical = EXTRA_ATTACH_TYPE_SPELLINGS.get(plain) ?? plain;
  const number = native.attachTypeNames.indexOf(canonical);
  if (number < 0) {
    throw refuse('EINVAL', `'${name}' is no attach type that libbpf knows; say for example 'cgroup_inet4_connect'`);
  }
  return number;
}

/** 'cgroup_sock_addr' for 18. */
export function programTypeName(number: number): string {
  return native.programTypeNames[number] ?? `program_type_${number}`;
}

/** 'map_lookup_elem' for 1: the C function's name without bpf_. */
export function helperName(number: number): string {
  return native.helperNames[number] ?? `helper_${number}`;
}

/** 'hash' for 1. */
export function mapTypeName(number: number): string {
  return native.mapTypeNames[number] ?? `map_type_${number}`;
}

/** 'cgroup' for 3. */
export function linkTypeName(number: number): string {
  return native.linkTypeNames[number] ?? `link_type_${number}`;
}

/** The number of a program type by libbpf's name ('cgroup_sock_addr'). */
export function programTypeNumber(name: string): number {
  return numberOf(name, native.programTypeNames, 'program type', 'cgroup_sock_addr');
}

/** The number of a map type by libbpf's name ('hash'). */
export function mapTypeNumber(name: string): number {
  return numberOf(name, native.mapTypeNames, 'map type', 'hash');
}

/** The number of a helper by its name without bpf_ ('map_lookup_elem'), or by the name that helperName gives to a newer one. */
export function helperNumber(name: string): number {
  const newer = /^helper_(\d+)$/.exec(name)?.[1];
  if (newer !== undefined) return Number(newer);
  return numberOf(name, native.helperNames, 'helper', 'map_lookup_elem');
}

function numberOf(name: string, names: readonly string[], kind: string, example: string): number {
  const number = names.indexOf(name);
  if (number < 0) throw refuse('EINVAL', `'${name}' is no ${kind} that libbpf knows; say for example '${example}'`);
  return number;
}
