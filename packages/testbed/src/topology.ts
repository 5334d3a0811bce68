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

/** The addresses of the n-th pod (from 0); throws when the subnet is full. */
export function podAddresses(n: number): { ip4: string; ip6: string } {
  const host = FIRST_POD + n;
  if (host > LAST_POD) throw new Error(`a testbed node has room for ${LAST_POD - FIRST_POD + 1} pods`);
  return { ip4: `10.66.0.${host}`, ip6: `fd66::${host}` };
}

/** The link address of a pod, derived from its IP: neighbours stay right when another pod gets the same IP. */
export function hardwareAddress(ip4: string): string {
  const bytes = ip4.split('.').map((part) => Number(part).toString(16).padStart(2, '0'));
  return `02:42:${bytes.join(':')}`;
}

/** "10.0.0.1:80" or "[fd66::1]:80". */
export function endpoint(ip: string, port: number): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}
