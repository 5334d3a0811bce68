// Which address a pod's captured connections come from.
import { canonicalAddress } from '@sluice/cgroup-resolver';
import type { InterfaceAddress } from '@sluice/linux';
import type { Family } from './parts.js';

/**
 * The address that the pod would use: the first of its IPs that the namespace holds, else the first global address that is not
 * deprecated. Undefined if there is none. Pure.
 */
export function sourceOf(
  family: Family,
  addresses: readonly InterfaceAddress[],
  podIps: readonly string[],
): string | undefined {
  const usable = addresses.filter((one) => one.family === family && !one.tentative);
  const held = new Set(usable.map(({ address }) => address));
  const podIp = podIps.map(canonicalAddress).find((ip) => ip !== undefined && held.has(ip));
  return podIp ?? usable.find(({ scope, deprecated }) => scope === 'global' && !deprecated)?.address;
}
