// Where ztunnel listens for the pods that it serves in their own network namespaces: at their own Pod IPs.
import { canonicalAddress, isIPv4 } from './address.js';
import { WorkloadFlag, type DesiredMaps } from './desired.js';

/** A pod's own address in each family, canonical text; undefined if it has none. */
export interface PodAddresses {
  readonly ipv4: string | undefined;
  readonly ipv6: string | undefined;
}

/**
 * By netns cookie, for the pods with the flag IN_POD. Of several IPs of one family, a pod has the same one in whichever
 * order the entries come; a pod whose namespace is not known yet has none.
 */
export function podAddresses(localPods: DesiredMaps['localPods']): Map<bigint, PodAddresses> {
  const result = new Map<bigint, PodAddresses>();
  const sorted = [...localPods].map(([ip, pod]) => [canonicalAddress(ip), pod] as const).toSorted(byAddress);
  for (const [ip, { netnsCookie, flags }] of sorted) {
    if (netnsCookie === 0n || (flags & WorkloadFlag.IN_POD) === 0) continue;
    const { ipv4, ipv6 } = result.get(netnsCookie) ?? { ipv4: undefined, ipv6: undefined };
    result.set(netnsCookie, isIPv4(ip) ? { ipv4: ipv4 ?? ip, ipv6 } : { ipv4, ipv6: ipv6 ?? ip });
  }
  return result;
}

const byAddress = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number =>
  a < b ? -1 : Number(a > b);
