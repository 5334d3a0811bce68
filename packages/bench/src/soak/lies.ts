// What a pod's object says instead of the truth.
import type { Pod } from '@sluice/testbed';
import type { Lie } from './steps.js';

/** Values by dotted paths of the object. Pure. */
export function liesOf(lie: Lie, pod: Pod, other: Pod | undefined): Record<string, unknown> {
  const ips = (list: readonly string[]): { ip: string }[] => list.map((ip) => ({ ip }));
  switch (lie) {
    case 'absent':
      return { 'status.podIP': undefined, 'status.podIPs': undefined };
    case 'empty-text':
      return { 'status.podIP': '', 'status.podIPs': [] };
    case 'empty-list':
      return { 'status.podIPs': [] };
    case 'wrong':
      return { 'status.podIP': '10.66.0.5', 'status.podIPs': ips(['10.66.0.5', 'fd66::5']) };
    case 'swapped':
      return { 'status.podIP': other?.ips[0], 'status.podIPs': ips(other?.ips ?? []) };
    case 'duplicate':
      return { 'status.podIPs': ips([...pod.ips, ...pod.ips, ...pod.ips.slice(0, 1)]) };
    case 'ended':
      return { 'status.phase': 'Succeeded' };
    case 'node-absent':
      return { 'spec.nodeName': undefined };
    case 'truth':
      return {};
  }
}
