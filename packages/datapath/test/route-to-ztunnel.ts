// Rules and routes of a pod's network namespace that bring marked connections to ztunnel, as the agent sets them up.
import { execFileSync } from 'node:child_process';
import type { Pod } from '@sluice/testbed';
import { CaptureMark } from '../src/index.js';

const MARK = `0x${CaptureMark.ROUTE_MARK.toString(16)}`;
const FWMARK = ['fwmark', `${MARK}/${MARK}`];
export const ROUTE_TABLE = '101';

/** ip(8) in the pod's namespace. */
export function ipIn(pod: Pod, ...argv: readonly string[]): string {
  return execFileSync('nsenter', [`--net=${pod.netns}`, 'ip', ...argv], { encoding: 'utf8' });
}

/** Without its lookup, a marked connection fails at the second rule instead of leaving the pod. */
export function routeToZtunnel(pod: Pod): void {
  for (const [family, ip] of [
    ['-4', pod.ip4],
    ['-6', pod.ip6],
  ] as const) {
    ipIn(pod, family, 'route', 'add', 'local', 'default', 'dev', 'lo', 'src', ip, 'table', ROUTE_TABLE);
    ipIn(pod, family, 'rule', 'add', 'priority', '2', ...FWMARK, 'unreachable');
    ipIn(pod, family, 'rule', 'add', 'priority', '1', ...FWMARK, 'lookup', ROUTE_TABLE);
  }
}
