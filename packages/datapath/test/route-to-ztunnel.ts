// Rules and routes of a pod's network namespace that bring marked connections to ztunnel, as the agent sets them up.
import { execFileSync } from 'node:child_process';
import type { Pod } from '@sluice/testbed';
import { CaptureMark, type RoutedDevices } from '../src/index.js';

const MARK = `0x${CaptureMark.ROUTE_MARK.toString(16)}`;
const FWMARK = ['fwmark', `${MARK}/${MARK}`];
const TABLE = '101';

/** ip(8) in the pod's namespace. */
export function ipIn(pod: Pod, ...argv: readonly string[]): string {
  return execFileSync('nsenter', [`--net=${pod.netns}`, 'ip', ...argv], { encoding: 'utf8' });
}

/**
 * Without its lookup, a marked connection fails at the second rule instead of leaving the pod. A socket that is bound to a device
 * takes the second route.
 * @returns what the agent would say of the namespace with {@link Datapath.setRouted}
 */
export function routeToZtunnel(pod: Pod): RoutedDevices {
  for (const [family, ip] of [
    ['-4', pod.ip4],
    ['-6', pod.ip6],
  ] as const) {
    const route = (device: string, metric: string): string =>
      ipIn(pod, family, 'route', 'add', 'local', 'default', 'dev', device, 'src', ip, 'metric', metric, 'table', TABLE);
    route('lo', '1');
    route('eth0', '2');
    ipIn(pod, family, 'rule', 'add', 'priority', '2', ...FWMARK, 'unreachable');
    ipIn(pod, family, 'rule', 'add', 'priority', '1', ...FWMARK, 'lookup', TABLE);
  }
  const both = { ipv4: true, ipv6: true };
  return new Map([
    [0, both],
    [Number(ipIn(pod, '-o', 'link', 'show', 'eth0').split(':')[0]), both],
  ]);
}
