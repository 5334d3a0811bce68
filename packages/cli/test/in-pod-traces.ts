// What inPod mode changes in a pod's network namespace, as ip(8), tc(8) and sysctl(8) show it.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { enterCommand, runToEnd, type Pod } from '@sluice/testbed';

const SHOWN = [
  ['ip', '-4', 'rule', 'show'],
  ['ip', '-6', 'rule', 'show'],
  ['ip', '-4', 'route', 'show', 'table', 'all'],
  ['ip', '-6', 'route', 'show', 'table', 'all'],
  ['tc', 'qdisc', 'show', 'dev', 'lo'],
  ['tc', 'filter', 'show', 'dev', 'lo', 'ingress'],
  ['sysctl', 'net.ipv4.tcp_fwmark_accept', 'net.ipv4.fwmark_reflect', 'net.ipv6.fwmark_reflect'],
] as const;

/** Rules, routes, tc and sysctls of a network namespace; equal when nothing is different. */
export async function plumbingIn(netns: string): Promise<string[]> {
  const parts = await Promise.all(SHOWN.map((argv) => runToEnd(enterCommand({ netns }, [...argv]))));
  return parts.flat();
}

export const plumbingOf = (pod: Pod): Promise<string[]> => plumbingIn(pod.netns);

/** Names of the pinned links of pods' network namespaces. */
export function netnsPins(bpffs: string): string[] {
  const links = join(bpffs, 'sluice', 'links');
  return existsSync(links) ? readdirSync(links).filter((name) => name.startsWith('netns-')) : [];
}
