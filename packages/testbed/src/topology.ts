// All addresses of a testbed node. They exist only inside the testbed's namespaces.

/** The node's bridge, on which its pods are. IPv4 /24 and IPv6 /64. */
export const POD_NETWORK = {
  bridge: 'br0',
  gateway4: '10.66.0.1',
  gateway6: 'fd66::1',
  subnet4: '10.66.0.0/24',
  subnet6: 'fd66::/64',
} as const;

/** The wire between the node and the other node. */
export const WIRE = {
  node4: '192.168.66.1',
  node6: 'fd67::1',
  other4: '192.168.66.2',
  other6: 'fd67::2',
} as const;

/** What is behind the other node: its "pods", served by addresses on its loopback. */
export const REMOTE_NETWORK = {
  subnet4: '10.66.1.0/24',
  subnet6: 'fd66:0:0:1::/64',
  hosts4: ['10.66.1.2', '10.66.1.3'],
  hosts6: ['fd66:0:0:1::2', 'fd66:0:0:1::3'],
} as const;

/** The n-th namespace nested in a pod (from 1), and the pod's end of it. */
export function nestedAddresses(n: number): {
  ip4: string;
  ip6: string;
  gateway4: string;
  gateway6: string;
  subnet4: string;
  subnet6: string;
} {
  const [net4, net6] = [`172.30.${n}`, `fd68:0:0:${n.toString(16)}`];
  return {
    ip4: `${net4}.2`,
    ip6: `${net6}::2`,
    gateway4: `${net4}.1`,
    gateway6: `${net6}::1`,
    subnet4: `${net4}.0/24`,
    subnet6: `${net6}::/64`,
  };
}

/** Pods get .10, .11, ... up to .254, and the same digits after fd66::. */
const FIRST_POD = 10;
const LAST_POD = 254;
const ROOM = LAST_POD - FIRST_POD + 1;

export interface PodAddresses {
  readonly ip4: string;
  readonly ip6: string;
}

/** Those of one pod, of the families that it has. */
export interface Addresses {
  readonly ip4: string | undefined;
  readonly ip6: string | undefined;
}

/** The addresses of a node's pods. One that was given back is the last to be given out again, as with the host-local plugin. */
export class AddressPool {
  readonly #taken = new Set<string>();
  #last = -1;

  /** The next pair of which neither is taken; it stays free. Throws when the subnet is full. */
  next(): PodAddresses {
    for (let i = 0; i < ROOM; i++) {
      this.#last = (this.#last + 1) % ROOM;
      const host = FIRST_POD + this.#last;
      const pair = { ip4: `10.66.0.${host}`, ip6: `fd66::${host}` };
      if (!this.#taken.has(pair.ip4) && !this.#taken.has(pair.ip6)) return pair;
    }
    throw new Error(`a testbed node has room for ${ROOM} pods at a time`);
  }

  take(addresses: Addresses): void {
    for (const ip of [addresses.ip4, addresses.ip6]) if (ip !== undefined) this.#taken.add(ip);
  }

  giveBack(addresses: Addresses): void {
    for (const ip of [addresses.ip4, addresses.ip6]) if (ip !== undefined) this.#taken.delete(ip);
  }
}

/** The link address of a pod, derived from one of its IPs: neighbours stay right when another pod gets the same IP. */
export function hardwareAddress(ip: string): string {
  const lastGroup = (ip.split(':').at(-1) ?? '').padStart(4, '0');
  const bytes = ip.includes(':')
    ? ['00', '00', lastGroup.slice(0, 2), lastGroup.slice(2)]
    : ip.split('.').map((part) => Number(part).toString(16).padStart(2, '0'));
  return `02:4${ip.includes(':') ? 3 : 2}:${bytes.join(':')}`;
}

/** "10.0.0.1:80" or "[fd66::1]:80". */
export function endpoint(ip: string, port: number): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}
