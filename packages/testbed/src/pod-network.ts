// What the CNI plugin of a testbed node does: a pod's network namespace, its devices and its addresses.
import type { Cgroup } from './cgroup.js';
import type { ContainerPlace } from './container-runtime.js';
import { Namespace } from './namespace.js';
import { NestedNetns } from './nested-netns.js';
import {
  AddressPool,
  type Addresses,
  hardwareAddress,
  nestedAddresses,
  POD_NETWORK,
  WIRE,
  type PodAddresses,
} from './topology.js';

/** Of the first further device of a pod: above what `ip` and the kernel give the routes of eth0 (0 and 1024). */
const LATER_METRIC = 4096;

/** The networks of all pods of one node. */
export class NodeNetwork {
  readonly node: Namespace;
  readonly other: Namespace;
  /** The cgroup of the processes that hold namespaces. */
  readonly holders: Cgroup;
  readonly #pool = new AddressPool();
  #links = 0;
  #nested = 0;

  /** `other` is the namespace of the other node. */
  constructor(node: Namespace, other: Namespace, holders: Cgroup) {
    this.node = node;
    this.other = other;
    this.holders = holders;
  }

  /** Sets addresses aside: the given ones, and the next free ones of the families for the others. */
  reserve(families: readonly (4 | 6)[], wanted: { readonly ip4?: string; readonly ip6?: string }): Addresses {
    const free = this.#pool.next();
    const own = {
      ip4: families.includes(4) ? (wanted.ip4 ?? free.ip4) : undefined,
      ip6: families.includes(6) ? (wanted.ip6 ?? free.ip6) : undefined,
    };
    this.#pool.take(own);
    return own;
  }

  giveBack(addresses: Addresses): void {
    this.#pool.giveBack(addresses);
  }

  /** The next free addresses, of both families. */
  take(): PodAddresses {
    const free = this.#pool.next();
    this.#pool.take(free);
    return free;
  }

  /** A new name for the node's end of a device. */
  link(): string {
    return `v${this.#links++}`;
  }

  /** A new network for a namespace in a pod. */
  nested(): ReturnType<typeof nestedAddresses> {
    return nestedAddresses(++this.#nested);
  }
}

/** The network of one sandbox of a pod. */
export class PodNetwork {
  readonly netns: Namespace;
  readonly addresses: Addresses;
  readonly #around: NodeNetwork;
  /** The node's ends of its devices. */
  readonly #links: string[] = [];
  /** Namespaces nested in it. */
  readonly #inside: Namespace[] = [];
  /** Of its further devices. */
  readonly #further: Addresses[] = [];

  private constructor(around: NodeNetwork, netns: Namespace, addresses: Addresses) {
    this.#around = around;
    this.netns = netns;
    this.addresses = addresses;
  }

  /** A namespace with only its loopback. */
  static async create(
    around: NodeNetwork,
    addresses: Addresses,
    sysctls: Readonly<Record<string, string>> | undefined,
  ): Promise<PodNetwork> {
    return new PodNetwork(around, await Namespace.create(around.holders, sysctls), addresses);
  }

  /** Adds eth0 with the addresses, and the routes. */
  async connect(): Promise<void> {
    const { ip4, ip6 } = this.addresses;
    await this.#addLink('eth0', ip4 ?? ip6 ?? '');
    await this.netns.ip(
      ...(ip4 === undefined ? [] : [`addr add ${ip4}/24 dev eth0`]),
      ...(ip6 === undefined ? [] : [`addr add ${ip6}/64 dev eth0 nodad`]),
      'link set eth0 up',
      ...(ip4 === undefined ? [] : [`route add default via ${POD_NETWORK.gateway4}`]),
      ...(ip6 === undefined ? [] : [`route add default via ${POD_NETWORK.gateway6} dev eth0`]),
    );
  }

  /** See Pod.addAddress(). */
  async addAddress(ip: string, device: string): Promise<void> {
    const { netns } = this;
    const v6 = ip.includes(':');
    const via = v6 ? this.addresses.ip6 : this.addresses.ip4;
    if (via === undefined) throw new Error(`${ip} is of a family that the pod has no route for`);
    const devices = await netns.run(['ip', '-o', 'link', 'show']);
    if (!devices.some((line) => line.includes(` ${device}:`) || line.includes(` ${device}@`)))
      // Both ends of a pair in one place serve as a tunnel: every kernel that has pods has veth.
      await netns.ip(
        `link add ${device} type veth peer name ${device}-end`,
        `link set ${device} up`,
        `link set ${device}-end up`,
      );
    await netns.ip(`addr add ${ip}/${v6 ? '128' : '32'} dev ${device}${v6 ? ' nodad' : ''}`);
    await this.#around.node.ip(`route replace ${ip} via ${via}`);
    if (!isInside(ip)) await this.#around.other.ip(`route replace ${ip} via ${v6 ? WIRE.node6 : WIRE.node4}`);
  }

  /** See Pod.removeAddress(). */
  async removeAddress(ip: string, device: string): Promise<void> {
    const own = [this.addresses.ip4, this.addresses.ip6].includes(ip);
    const length = ip.includes(':') ? (own ? '64' : '128') : own ? '24' : '32';
    await this.netns.ip(`addr del ${ip}/${length} dev ${device}`);
    if (own) return;
    await this.#around.node.ip(`route del ${ip}`);
    if (!isInside(ip)) await this.#around.other.ip(`route del ${ip}`);
  }

  /** See Pod.addDevice(). */
  async addDevice(device: string): Promise<Addresses> {
    const free = this.#around.take();
    this.#further.push(free);
    const ip4 = this.addresses.ip4 === undefined ? undefined : free.ip4;
    const ip6 = this.addresses.ip6 === undefined ? undefined : free.ip6;
    const metric = LATER_METRIC + this.#links.length;
    await this.#addLink(device, free.ip4);
    await this.netns.ip(
      `link set ${device} up`,
      ...(ip4 === undefined
        ? []
        : [
            `addr add ${ip4}/32 dev ${device}`,
            `route add default via ${POD_NETWORK.gateway4} dev ${device} onlink src ${ip4} metric ${metric}`,
          ]),
      ...(ip6 === undefined
        ? []
        : [
            // IPv6 takes a gateway only on a device that has a route to it.
            `addr add ${ip6}/64 dev ${device} nodad metric ${metric}`,
            `route add default via ${POD_NETWORK.gateway6} dev ${device} src ${ip6} metric ${metric}`,
          ]),
    );
    return { ip4, ip6 };
  }

  /** See Pod.nestedNetns(). */
  async nest(place: ContainerPlace): Promise<NestedNetns> {
    const { subnet4, subnet6, ...link } = this.#around.nested();
    const netns = await Namespace.create(this.#around.holders);
    this.#inside.push(netns);
    const { ip4, ip6 } = this.addresses;
    const nested = await NestedNetns.create(place, netns, {
      ...link,
      ip4: ip4 === undefined ? undefined : link.ip4,
      ip6: ip6 === undefined ? undefined : link.ip6,
    });
    if (ip4 !== undefined) {
      await this.#around.node.ip(`route add ${subnet4} via ${ip4}`);
      await this.#around.other.ip(`route add ${subnet4} via ${WIRE.node4}`);
    }
    if (ip6 !== undefined) {
      await this.#around.node.ip(`route add ${subnet6} via ${ip6}`);
      await this.#around.other.ip(`route add ${subnet6} via ${WIRE.node6}`);
    }
    return nested;
  }

  /** Takes the devices away now, and not whenever the kernel removes the namespace, which ends with its last process. */
  async release(): Promise<void> {
    if (this.#links.length > 0) await this.#around.node.ip(...this.#links.map((link) => `link del ${link}`));
    await Promise.all([this.netns, ...this.#inside].map((namespace) => namespace.close()));
    for (const further of this.#further) this.#around.giveBack(further);
  }

  async #addLink(device: string, ip: string): Promise<void> {
    const link = this.#around.link();
    await this.#around.node.ip(
      `link add ${link} type veth peer name ${device} address ${hardwareAddress(ip)} netns ${this.netns.pid}`,
      `link set ${link} master ${POD_NETWORK.bridge} up`,
    );
    this.#links.push(link);
  }
}

/** Whether the address is behind the other node's existing route. */
function isInside(ip: string): boolean {
  return ip.startsWith('10.66.0.') || /^fd66::[^:]+$/.test(ip);
}
