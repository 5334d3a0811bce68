// A network namespace inside a pod, as made by Docker-in-Docker or by a virtual machine's launcher: its processes are in the
// pod's cgroup, but their sockets are in another namespace, and their packets are forwarded by the pod's.
import { Container } from './container.js';
import type { ContainerPlace } from './container-runtime.js';
import { directRuntime } from './container-runtime.js';
import type { DialOptions, DialResult } from './dialler.js';
import { runToEnd } from './line-process.js';
import type { Namespace } from './namespace.js';
import { enterCommand } from './peer-program.js';

/** The link through which the nested namespace's packets go. */
export interface NestedLink {
  readonly ip4: string | undefined;
  readonly ip6: string | undefined;
  readonly gateway4: string;
  readonly gateway6: string;
}

export class NestedNetns {
  readonly netns: Namespace;
  readonly ip4: string | undefined;
  readonly ip6: string | undefined;
  readonly container: Container;

  private constructor(netns: Namespace, link: NestedLink, container: Container) {
    this.netns = netns;
    this.ip4 = link.ip4;
    this.ip6 = link.ip6;
    this.container = container;
  }

  /** `place` is the container's place: in the pod's cgroup and with the pod's namespace; `netns` is new and empty. */
  static async create(place: ContainerPlace, netns: Namespace, link: NestedLink): Promise<NestedNetns> {
    const outer = (argv: readonly string[], input: readonly string[], sysctls = {}): Promise<string[]> =>
      runToEnd(enterCommand({ netns: place.netns, sysctls }, argv), input);
    const device = `n${netns.pid}`;
    await outer(
      ['ip', '-batch', '-'],
      [
        `link add ${device} type veth peer name eth0 netns ${netns.pid}`,
        ...(link.ip4 === undefined ? [] : [`addr add ${link.gateway4}/24 dev ${device}`]),
        ...(link.ip6 === undefined ? [] : [`addr add ${link.gateway6}/64 dev ${device} nodad`]),
        `link set ${device} up`,
      ],
      {
        ...(link.ip4 === undefined ? {} : { 'net.ipv4.ip_forward': '1' }),
        ...(link.ip6 === undefined ? {} : { 'net.ipv6.conf.all.forwarding': '1' }),
      },
    );
    await netns.ip(
      ...(link.ip4 === undefined ? [] : [`addr add ${link.ip4}/24 dev eth0`]),
      ...(link.ip6 === undefined ? [] : [`addr add ${link.ip6}/64 dev eth0 nodad`]),
      'link set eth0 up',
      ...(link.ip4 === undefined ? [] : [`route add default via ${link.gateway4}`]),
      ...(link.ip6 === undefined ? [] : [`route add default via ${link.gateway6} dev eth0`]),
    );
    const container = await Container.start('nested', { ...place, netns: netns.path }, directRuntime);
    return new NestedNetns(netns, link, container);
  }

  dial(to: string, options?: DialOptions): Promise<DialResult> {
    return this.container.dial(to, options);
  }
}
