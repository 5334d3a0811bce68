// The other node: servers and clients that no program of this node's cgroups ever sees.
import type { Cgroup } from './cgroup.js';
import { HostProcess } from './host-process.js';
import { LineProcess } from './line-process.js';
import type { Namespace } from './namespace.js';
import { enterCommand, peerProgram } from './peer-program.js';
import { REMOTE_NETWORK } from './topology.js';

export class RemoteNode {
  /** The first of its addresses that serve; `hosts` has them all. */
  readonly ip4 = REMOTE_NETWORK.hosts4[0];
  readonly ip6 = REMOTE_NETWORK.hosts6[0];
  readonly hosts: readonly string[] = [...REMOTE_NETWORK.hosts4, ...REMOTE_NETWORK.hosts6];
  readonly netns: Namespace;
  readonly #cgroup: Cgroup;

  constructor(netns: Namespace, cgroup: Cgroup) {
    this.netns = netns;
    this.#cgroup = cgroup;
  }

  /** Serves on every address of the other node, or on one. */
  async serve(ports: readonly number[], options: { name?: string; bind?: string } = {}): Promise<LineProcess> {
    const bind = options.bind === undefined ? [] : ['--bind', options.bind];
    const args = ['serve', '--name', options.name ?? 'remote', '--port', ports.join(','), ...bind];
    const place = { cgroup: this.#cgroup.path, netns: this.netns.path };
    const server = await LineProcess.start(enterCommand(place, [peerProgram(), ...args]));
    await server.lineMatching(/^ready$/);
    return server;
  }

  /** A client on the other node. */
  client(): Promise<HostProcess> {
    return HostProcess.start(peerProgram(), this.#cgroup, this.netns.path);
  }
}
