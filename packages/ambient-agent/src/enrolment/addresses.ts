// Which pod owns an address. A pod's addresses are those that its network namespace holds; what the API says of them only tells which
// one comes first, and is compared.
import { isIP } from 'node:net';
import { canonicalAddress } from '@sluice/datapath';
import type { InterfaceAddress } from '@sluice/linux';
import type { Pod } from '../inventory/model.js';

/** An address that a network namespace holds. */
export type HeldAddress = Pick<InterfaceAddress, 'address' | 'family' | 'scope' | 'tentative'>;

/** An address of global scope, as the resolver of cgroups gives it. Pure. */
export const heldAddress = (address: string): HeldAddress => ({
  address,
  family: isIP(address) === 6 ? 6 : 4,
  scope: 'global',
  tentative: false,
});

export interface AddressClaim {
  readonly pod: Pod;
  /** The cookie of its verified network namespace; undefined while that is not known. */
  readonly cookie: bigint | undefined;
  readonly held: readonly HeldAddress[];
  /** Whether ztunnel has acknowledged it there. */
  readonly isEstablished: boolean;
}

export interface OwnedAddresses {
  /** Canonical text; those that the API reports come first, in its order. */
  readonly own: readonly string[];
  /** What the API reports and another pod's network namespace holds. */
  readonly lost: readonly { readonly ip: string; readonly to: Pod }[];
  /** What the API reports and no network namespace of this node holds, as far as it is known. */
  readonly absent: readonly string[];
}

interface Candidate {
  readonly claim: AddressClaim;
  /** The lowest rank owns the address. */
  readonly rank: number;
}

const isUsable = ({ scope, tentative }: HeldAddress): boolean => scope === 'global' && !tentative;

/**
 * Who holds an address owns it, and among several the one whom the API names, then the one that is in the mesh already, then the one whose
 * namespace the kernel made first. So nobody loses an address to a later claim, whatever an object says. Pure; the order does not matter.
 * @param trustsApi whether what the API reports counts where no namespace is known to hold it, and nothing else does, as in `node` mode
 */
export function addressOwners(claims: readonly AddressClaim[], trustsApi: boolean): (pod: Pod) => OwnedAddresses {
  const candidates = new Map<string, Candidate[]>();
  const wanted = new Map(claims.map((claim) => [claim.pod.uid, wantedAddresses(claim, trustsApi)]));
  for (const claim of claims)
    for (const { ip, rank } of wanted.get(claim.pod.uid) ?? [])
      candidates.set(ip, [...(candidates.get(ip) ?? []), { claim, rank }]);
  const owners = new Map([...candidates].map(([ip, all]) => [ip, all.reduce(better)] as const));
  return (pod) => {
    const owns = (ip: string): boolean => owners.get(ip)?.claim.pod.uid === pod.uid;
    const others = pod.ips.filter((ip) => !owns(ip));
    return {
      own: (wanted.get(pod.uid) ?? []).map(({ ip }) => ip).filter(owns),
      lost: others.flatMap((ip) => {
        const owner = owners.get(ip);
        return owner === undefined ? [] : [{ ip, to: owner.claim.pod }];
      }),
      absent: others.filter((ip) => !owners.has(ip)),
    };
  };
}

/** A pod can have any number of addresses, and the map that holds those of all pods must not be filled by one. */
const MOST_UNREPORTED = 4;

/** Of a family of which the API names no address that is there, those that are there count. */
function wantedAddresses(
  { pod, cookie, held, isEstablished }: AddressClaim,
  trustsApi: boolean,
): { readonly ip: string; readonly rank: number }[] {
  const later = isEstablished ? 0 : 1;
  if (cookie === undefined) return trustsApi ? pod.ips.map((ip) => ({ ip, rank: 4 })) : [];
  const usable = held.filter(isUsable).map(({ address }) => canonicalAddress(address));
  const reported = pod.ips.filter((ip) => usable.includes(ip));
  const others = [false, true].flatMap((isIPv6) => {
    const ofFamily = (ip: string): boolean => ip.includes(':') === isIPv6;
    // The kernel lists the newest address first, and a further one is to change nothing.
    return trustsApi || reported.some(ofFamily) ? [] : usable.filter(ofFamily).toSorted().slice(0, MOST_UNREPORTED);
  });
  return [...reported.map((ip) => ({ ip, rank: later })), ...others.map((ip) => ({ ip, rank: 2 + later }))];
}

function better(a: Candidate, b: Candidate): Candidate {
  if (a.rank !== b.rank) return a.rank < b.rank ? a : b;
  const [x, y] = [a.claim, b.claim];
  // The kernel counts cookies upwards.
  if (x.cookie !== y.cookie) return (x.cookie ?? 0n) < (y.cookie ?? 0n) ? a : b;
  // Of two objects of which nothing is verified, the newer one: an address is used again while the API still shows its former pod.
  if (x.pod.bornMs !== y.pod.bornMs) return x.pod.bornMs > y.pod.bornMs ? a : b;
  return x.pod.uid > y.pod.uid ? a : b;
}
