// The network of a cluster: one bridge on the machine, with the node's address, the pods' subnet and the API server's address.
import { runToEnd } from '../line-process.js';

/**
 * 198.18.0.0/15 is reserved for tests of network devices (RFC 2544): no machine has a route to it. Each cluster has two of its
 * /24 networks: one for pods and the node, one for services.
 */
const CLUSTERS = 256;

export class ClusterNetwork {
  readonly #number: number;

  private constructor(number: number) {
    this.#number = number;
  }

  /**
   * Makes the bridge under a name that nothing else has, which also decides whose subnets they are. Its alias is the owner's
   * name, by which removeEverything() finds it.
   */
  static async claim(owner: string): Promise<ClusterNetwork> {
    for (let number = 0; number < CLUSTERS; number++) {
      const network = new ClusterNetwork(number);
      const { bridge, nodeIp, serviceIp } = network;
      try {
        await runToEnd(['ip', 'link', 'add', bridge, 'type', 'bridge']);
      } catch (error) {
        if (String(error).includes('File exists')) continue;
        throw error;
      }
      const setup = [
        `link set ${bridge} alias ${owner}`,
        `addr add ${nodeIp}/24 dev ${bridge}`,
        // In place of kube-proxy: the only service has its address on the machine itself.
        `addr add ${serviceIp}/32 dev ${bridge}`,
        `link set ${bridge} up`,
      ];
      await runToEnd(['ip', '-batch', '-'], setup);
      return network;
    }
    throw new Error(
      `all ${CLUSTERS} networks for clusters are taken; remove bridges that nobody needs: ip link delete`,
    );
  }

  get bridge(): string {
    return `sluice-k${this.#number}`;
  }

  /** The node's address, which is also the pods' gateway. */
  get nodeIp(): string {
    return this.#address(0, 1);
  }

  /** CIDR; the node is in it. */
  get podSubnet(): string {
    return `${this.#address(0, 0)}/24`;
  }

  /** The address of the service `kubernetes`, always the first one of the services' range. */
  get serviceIp(): string {
    return this.#address(1, 1);
  }

  /** CIDR. */
  get serviceRange(): string {
    return `${this.#address(1, 0)}/24`;
  }

  #address(half: 0 | 1, host: number): string {
    const subnet = 2 * this.#number + half;
    return `198.${18 + (subnet >> 8)}.${subnet & 255}.${host}`;
  }
}
