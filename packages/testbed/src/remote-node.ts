// The other node: servers and clients that no program of this node's cgroups ever sees.
import { Load, type LoadOptions } from './campaigns.js';
import type { Cgroup } from './cgroup.js';
import type { DialOptions, DialResult } from './dialler.js';
import { HostProcess } from './host-process.js';
import { LineProcess } from './line-process.js';
import type { Namespace } from './namespace.js';
import { enterCommand, peerProgram } from './peer-program.js';
import { DNS_ANSWERS } from './resolution.js';
import { serveArguments, Server, type ServeOptions } from './server.js';
import { Stream } from './stream.js';
import { endpoint, REMOTE_NETWORK } from './topology.js';

const DNS_PORT = 53;

export class RemoteNode {
  /** The first of its addresses that serve; `hosts` has all of them. */
  readonly ip4 = REMOTE_NETWORK.hosts4[0];
  readonly ip6 = REMOTE_NETWORK.hosts6[0];
  readonly hosts: readonly string[] = [...REMOTE_NETWORK.hosts4, ...REMOTE_NETWORK.hosts6];
  readonly netns: Namespace;
  readonly #cgroup: Cgroup;
  #client: Promise<HostProcess> | undefined;
  #dns: Server | undefined;

  constructor(netns: Namespace, cgroup: Cgroup) {
    this.netns = netns;
    this.#cgroup = cgroup;
  }

  /** Serves on every address of the other node, or on one of them. */
  serve(ports: readonly number[], options: ServeOptions = {}): Promise<Server> {
    const args = serveArguments(ports, options.name ?? 'remote', options);
    return Server.start(() => this.exec(args));
  }

  /** Starts a DNS server on port 53, UDP and TCP, of every address in `hosts`; it answers all names with DNS_ANSWERS.remote. */
  async serveDns(): Promise<Server> {
    const { A, AAAA } = DNS_ANSWERS.remote;
    const at = this.hosts.flatMap((host) => ['--at', endpoint(host, DNS_PORT)]);
    this.#dns = await Server.start(() =>
      this.exec(['dns', '--name', 'remote', '--answer4', A, '--answer6', AAAA, ...at]),
    );
    return this.#dns;
  }

  /** The DNS server that the node starts with, unless configured otherwise; stopping it frees its port. */
  get dns(): Server {
    if (this.#dns === undefined) throw new Error('the other node has no DNS server; serveDns() starts one');
    return this.#dns;
  }

  /** Dials from the other node, from one of its addresses; nothing on the way changes the source. */
  async dial(to: string, options?: DialOptions): Promise<DialResult> {
    this.#client ??= this.client();
    return (await this.#client).dial(to, options);
  }

  /** Starts a load from the other node, which runs until it is stopped; see Load. */
  load(targets: readonly string[], options?: LoadOptions): Promise<Load> {
    return Load.start(this, targets, options);
  }

  /** Opens a long connection from the other node to a server that echoes; see Stream. */
  async stream(to: string): Promise<Stream> {
    return Stream.start(await this.exec(['stream', '--to', to]));
  }

  /** Starts a client of its own on the other node. */
  client(): Promise<HostProcess> {
    return HostProcess.start(peerProgram(), this.#cgroup, this.netns.path);
  }

  /** Starts a process on the other node; the arguments are the peer's. */
  exec(args: readonly string[]): Promise<LineProcess> {
    const place = { cgroup: this.#cgroup.path, netns: this.netns.path };
    return LineProcess.start(enterCommand(place, [peerProgram(), ...args]));
  }
}
