// What is set in the network namespace of a pod, apart from its devices and addresses.
import { runToEnd } from '@sluice/testbed';

const COMMANDS = [
  ['ip', '-4', 'rule'],
  ['ip', '-6', 'rule'],
  ['ip', '-4', 'route', 'show', 'table', '100'],
  ['ip', '-6', 'route', 'show', 'table', '100'],
  ['tc', 'qdisc', 'show'],
  ['tc', 'filter', 'show', 'dev', 'lo', 'ingress'],
  ['sysctl', 'net.ipv4.tcp_fwmark_accept', 'net.ipv4.fwmark_reflect', 'net.ipv6.fwmark_reflect'],
];

/** Rules, routes, filters and sysctls, as ip(8), tc(8) and sysctl(8) print them. */
export async function podNetnsState(pid: number): Promise<Record<string, string[]>> {
  const shown = COMMANDS.map(async (argv): Promise<[string, string[]]> => {
    // For ip(8), a table that nobody has made is an error.
    const lines = await runToEnd(['nsenter', `--net=/proc/${pid}/ns/net`, '--', ...argv]).catch(() => []);
    return [argv.join(' '), lines];
  });
  return Object.fromEntries(await Promise.all(shown));
}
