// The network namespaces in which a marked connection reaches ztunnel, as connect() asks for them.
import type { BpfMap } from '@sluice/libbpf';
import { RoutedFamily, maps } from './generated/maps.js';

/** The families whose rules and routes are there. */
export interface RoutedFamilies {
  readonly ipv4: boolean;
  readonly ipv6: boolean;
}

/** A namespace without any family has no entry. Throws BpfError when the map is full (E2BIG). */
export function setRouted(routed: BpfMap, netnsCookie: bigint, { ipv4, ipv6 }: RoutedFamilies): void {
  const key = maps.routed_netns.encodeKey(netnsCookie);
  const families = (ipv4 ? RoutedFamily.IPV4 : 0) | (ipv6 ? RoutedFamily.IPV6 : 0);
  if (families === 0) routed.delete(key);
  else routed.update(key, maps.routed_netns.encodeValue(families));
}

export function readRouted(routed: BpfMap): Map<bigint, RoutedFamilies> {
  const result = new Map<bigint, RoutedFamilies>();
  for (const [key, value] of routed.entries()) {
    const families = maps.routed_netns.decodeValue(value);
    const has = (family: number): boolean => (families & family) !== 0;
    result.set(maps.routed_netns.decodeKey(key), { ipv4: has(RoutedFamily.IPV4), ipv6: has(RoutedFamily.IPV6) });
  }
  return result;
}
