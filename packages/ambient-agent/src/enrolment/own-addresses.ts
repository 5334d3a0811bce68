// The addresses of a pod's network namespace, as the datapath is to know them: at one of them, the pod talks to itself.
import { canonicalAddress } from '@sluice/datapath';

/** A pod with NET_ADMIN can add any number of addresses, and the map that holds those of all pods must not be filled by one. */
const MOST_ADDRESSES = 64;

export interface OwnAddresses {
  /** Canonical text; the pod's IPs first. */
  readonly addresses: readonly string[];
  /** Which of them are left out, and what that means; undefined if none is. */
  readonly problem: string | undefined;
}

/** Connections to them are decided about before anything asks whose they are. */
const isLoopback = (address: string): boolean => address === '::1' || address.startsWith('127.');

/**
 * Pure; the order of `held` does not matter.
 * @param ips the pod's, canonical text
 * @param held what its namespace holds, as text of IPv4 or IPv6 addresses
 */
export function ownAddresses(ips: readonly string[], held: readonly string[]): OwnAddresses {
  const others = held.map(canonicalAddress).filter((address) => !isLoopback(address));
  const all = [...new Set([...ips, ...others.sort()])];
  const addresses = all.slice(0, MOST_ADDRESSES);
  const problem =
    addresses.length === all.length
      ? undefined
      : `its network namespace has ${all.length} addresses, and only ${MOST_ADDRESSES} of them count as its own: its connections to the others, such as ${all[MOST_ADDRESSES]}, go to ztunnel; remove some`;
  return { addresses, problem };
}
