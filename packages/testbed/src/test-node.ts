// A whole Kubernetes node in namespaces: the one object that most tests make. Removing it removes everything.
import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Agent, type AgentOptions } from './agent.js';
import { Cgroup, cgroup2Root } from './cgroup.js';
import type { ClusterState } from './cluster-state.js';
import { directRuntime, type ContainerPlace, type ContainerRuntime } from './container-runtime.js';
import { HostProcess } from './host-process.js';
import { KubernetesCluster } from './kubernetes-cluster.js';
import { KubernetesDirectory } from './kubernetes-directory.js';
import { allEnded, LineProcess, runToEnd } from './line-process.js';
import { Namespace } from './namespace.js';
import { NestedNetns } from './nested-netns.js';
import { removeAtExit, removeEverything, uniqueName, workDirectory } from './ownership.js';
import { enterCommand, peerProgram, PURE_V2_ROOT } from './peer-program.js';
import { Pod, type DeviceAddresses, type PodSpec } from './pod.js';
import { RemoteNode } from './remote-node.js';
import { RuncRuntime } from './runc-runtime.js';
import { hardwareAddress, nestedAddresses, POD_NETWORK, podAddresses, REMOTE_NETWORK, WIRE } from './topology.js';
import { StandInZtunnel, ZTUNNEL_POD, type ZtunnelOptions } from './ztunnel.js';

export interface TestNodeOptions {
  /** The Kubernetes name of the node. Default 'node-a'. */
  readonly name?: string;
  /** Ports that the other node serves from the start. Default 80, 443 and 8080. */
  readonly remotePorts?: readonly number[];
  /** Whether the other node has its DNS server from the start. Default true. */
  readonly remoteDns?: boolean;
  /** Where pods are published: manifests in a directory, or an API server. Default 'directory'. */
  readonly kubernetes?: 'directory' | 'api';
}

/** Of the first further device of a pod: above what `ip` and the kernel give the routes of eth0 (0 and 1024). */
const LATER_METRIC = 4096;

const FORWARDING = { 'net.ipv4.ip_forward': '1', 'net.ipv6.conf.all.forwarding': '1' };

export class TestNode<Cluster extends ClusterState = KubernetesDirectory> implements AsyncDisposable {
  /** The Kubernetes name of the node. */
  readonly name: string;
  /** The unique name that everything of this node has on the machine. */
  readonly id: string;
  /** The cgroup to attach programs to; `kubepods/`, `kubelet/` and `system/` are below it. */
  readonly cgroup: Cgroup;
  /** The node's own network namespace. */
  readonly netns: Namespace;
  readonly remote: RemoteNode;
  /** Everything that has been published. */
  readonly kubernetes: Cluster;
  /** A directory for the test's files; removed with the node. */
  readonly directory: string;
  readonly #outside: Cgroup;
  readonly #forget: () => void;
  #runc: RuncRuntime | undefined;
  #pods = 0;
  #nested = 0;

  private constructor(
    id: string,
    name: string,
    parts: {
      cgroup: Cgroup;
      outside: Cgroup;
      directory: string;
      forget: () => void;
      netns: Namespace;
      remote: RemoteNode;
      kubernetes: Cluster;
    },
  ) {
    this.id = id;
    this.name = name;
    this.cgroup = parts.cgroup;
    this.#outside = parts.outside;
    this.directory = parts.directory;
    this.#forget = parts.forget;
    this.netns = parts.netns;
    this.remote = parts.remote;
    this.kubernetes = parts.kubernetes;
  }

  static create(options?: TestNodeOptions & { readonly kubernetes?: 'directory' }): Promise<TestNode>;
  static create(options: TestNodeOptions & { readonly kubernetes: 'api' }): Promise<TestNode<KubernetesCluster>>;
  static create(options: TestNodeOptions): Promise<TestNode<KubernetesDirectory | KubernetesCluster>>;
  static async create(options: TestNodeOptions = {}): Promise<TestNode<KubernetesDirectory | KubernetesCluster>> {
    const id = uniqueName();
    const forget = removeAtExit(() => removeEverything(id));
    try {
      const cgroup = new Cgroup(join(cgroup2Root(), id));
      const outside = new Cgroup(join(cgroup2Root(), `${id}-outside`));
      const [netns, other] = await Promise.all([
        Namespace.create(outside, FORWARDING),
        Namespace.create(outside, FORWARDING),
      ]);
      await connectNodes(netns, other);
      const remote = new RemoteNode(other, outside);
      const ports = options.remotePorts ?? [80, 443, 8080];
      await Promise.all([
        ports.length > 0 ? remote.serve(ports) : undefined,
        options.remoteDns === false ? undefined : remote.serveDns(),
      ]);
      const name = options.name ?? 'node-a';
      const directory = workDirectory(id);
      const kubernetes =
        options.kubernetes === 'api'
          ? await startCluster(name, directory, outside)
          : new KubernetesDirectory(join(directory, 'manifests'));
      return new TestNode(id, name, { cgroup, outside, directory, forget, netns, remote, kubernetes });
    } catch (error) {
      removeEverything(id);
      forget();
      throw error;
    }
  }

  /** The node's address on the bridge, which a pod sees when a host process dials. */
  get ip4(): string {
    return POD_NETWORK.gateway4;
  }

  get ip6(): string {
    return POD_NETWORK.gateway6;
  }

  /** Path of a kubeconfig for a user who may do everything; throws if there is no API server. */
  get kubeconfig(): string {
    if (this.kubernetes instanceof KubernetesCluster) return this.kubernetes.kubeconfig();
    throw new Error(
      `${this.name} publishes to a directory and has no API server; create it with { kubernetes: 'api' }`,
    );
  }

  /** A running pod, published unless configured otherwise. */
  async pod(spec: PodSpec): Promise<Pod> {
    const own = spec.hostNetwork === true ? undefined : await this.#podNetwork(spec);
    const pod = new Pod(spec, {
      ip4: own === undefined ? this.ip4 : own.ip4,
      ip6: own === undefined ? this.ip6 : own.ip6,
      hostIp: this.ip4,
      nodeName: this.name,
      netns: (own?.netns ?? this.netns).path,
      kubepodsParent: this.cgroup,
      runtime: this.#runtime(spec),
      kubernetes: this.kubernetes,
      addAddress: (ip, device) => this.#addAddress(own, ip, device),
      addDevice: (device) => this.#addDevice(own, device),
      nest: (place) => this.#nest(own, place),
      release: own?.release ?? (async () => {}),
    });
    await pod.start();
    return pod;
  }

  /** The stand-in ztunnel, listening and published as ready. */
  async ztunnel(options: ZtunnelOptions & Partial<PodSpec> = {}): Promise<StandInZtunnel> {
    const pod = await this.pod({ ...ZTUNNEL_POD, ...options, name: options.name ?? 'ztunnel', publish: false });
    const ztunnel = new StandInZtunnel(pod, options);
    await ztunnel.start();
    if (options.publish === false) return ztunnel;
    pod.publish();
    await this.kubernetes.settled();
    return ztunnel;
  }

  /**
   * Starts a process in the pod's network namespace but not in its cgroup, like an administrator's nsenter(1). Its cgroup is
   * `system/` by default.
   */
  nsenter(pod: Pod, cgroup = 'system'): Promise<HostProcess> {
    return HostProcess.start(peerProgram(), this.cgroup.child(cgroup), pod.netns);
  }

  /** Starts a process named kubelet, in the cgroup `kubelet/`. */
  kubelet(): Promise<HostProcess> {
    return this.hostProcess('kubelet', 'kubelet');
  }

  /** Starts a process of the node, outside every pod. Its comm is `name`; its cgroup is `system/` by default. */
  hostProcess(name = 'host', cgroup = 'system'): Promise<HostProcess> {
    const directory = join(this.directory, 'bin');
    mkdirSync(directory, { recursive: true });
    copyFileSync(peerProgram(), join(directory, name));
    return HostProcess.start(join(directory, name), this.cgroup.child(cgroup), this.netns.path);
  }

  /** The agent, not started yet. It runs in the machine's own namespaces and outside the node's cgroup. */
  agent(options: AgentOptions): Agent {
    return new Agent(options, this.#outside);
  }

  /**
   * Starts a program in private mounts in which /sys/fs/cgroup is cgroup2 and nothing else, as on a machine without the old
   * hierarchies. The node's cgroup is then `/sys/fs/cgroup/<id>`.
   */
  inPureV2View(argv: readonly string[]): Promise<LineProcess> {
    return LineProcess.start(enterCommand({ cgroup: this.#outside.path, cgroup2At: PURE_V2_ROOT }, argv));
  }

  /** Mounts a new bpffs of the node's own; returns its mount point. */
  async bpffs(): Promise<string> {
    const target = join(this.directory, 'bpffs');
    mkdirSync(target);
    await runToEnd(['mount', '-t', 'bpf', 'bpf', target]);
    return target;
  }

  /** Removes everything. Idempotent. */
  async close(): Promise<void> {
    if (this.kubernetes instanceof KubernetesCluster) await this.kubernetes.close();
    removeEverything(this.id);
    this.#forget();
    await allEnded(new RegExp(`/${this.id}[/-]`)); // the command line of each names one of its cgroups
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #runtime(spec: PodSpec): ContainerRuntime {
    if (spec.runtime !== 'runc') return directRuntime;
    this.#runc ??= new RuncRuntime(join(this.directory, 'runc'), this.#outside);
    return this.#runc;
  }

  async #podNetwork(spec: PodSpec): Promise<PodNetwork> {
    const n = this.#pods++;
    const free = podAddresses(n);
    const families = spec.families ?? [4, 6];
    const ip4 = families.includes(4) ? (spec.ip4 ?? free.ip4) : undefined;
    const ip6 = families.includes(6) ? (spec.ip6 ?? free.ip6) : undefined;
    const netns = await Namespace.create(this.#outside, spec.sysctls);
    const device = `v${n}`;
    await this.netns.ip(
      `link add ${device} type veth peer name eth0 address ${hardwareAddress(ip4 ?? free.ip4)} netns ${netns.pid}`,
      `link set ${device} master ${POD_NETWORK.bridge} up`,
    );
    await netns.ip(
      ...(ip4 === undefined ? [] : [`addr add ${ip4}/24 dev eth0`]),
      ...(ip6 === undefined ? [] : [`addr add ${ip6}/64 dev eth0 nodad`]),
      'link set eth0 up',
      ...(ip4 === undefined ? [] : [`route add default via ${POD_NETWORK.gateway4}`]),
      ...(ip6 === undefined ? [] : [`route add default via ${POD_NETWORK.gateway6} dev eth0`]),
    );
    const inside: Namespace[] = [];
    const links = [device];
    const release = async (): Promise<void> => {
      await this.netns.ip(...links.map((link) => `link del ${link}`)); // now, and not whenever the kernel removes the namespace
      await Promise.all([netns, ...inside].map((namespace) => namespace.close()));
    };
    return { ip4, ip6, netns, links, inside, release };
  }

  async #addAddress(network: PodNetwork | undefined, ip: string, device: string): Promise<void> {
    if (network === undefined) throw new Error('a pod in the host network has no addresses of its own');
    const { netns } = network;
    const v6 = ip.includes(':');
    const via = v6 ? network.ip6 : network.ip4;
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
    await this.netns.ip(`route replace ${ip} via ${via}`);
    if (!isInside(ip)) await this.remote.netns.ip(`route replace ${ip} via ${v6 ? WIRE.node6 : WIRE.node4}`);
  }

  async #addDevice(network: PodNetwork | undefined, device: string): Promise<DeviceAddresses> {
    if (network === undefined) throw new Error('a pod in the host network has no devices of its own');
    const n = this.#pods++;
    const free = podAddresses(n);
    const ip4 = network.ip4 === undefined ? undefined : free.ip4;
    const ip6 = network.ip6 === undefined ? undefined : free.ip6;
    const { netns, links } = network;
    const link = `v${n}`;
    const metric = LATER_METRIC + links.length;
    await this.netns.ip(
      `link add ${link} type veth peer name ${device} address ${hardwareAddress(free.ip4)} netns ${netns.pid}`,
      `link set ${link} master ${POD_NETWORK.bridge} up`,
    );
    links.push(link);
    await netns.ip(
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

  async #nest(network: PodNetwork | undefined, place: ContainerPlace): Promise<NestedNetns> {
    if (network === undefined) throw new Error('a pod in the host network has no namespace to nest in');
    const { subnet4, subnet6, ...link } = nestedAddresses(++this.#nested);
    const netns = await Namespace.create(this.#outside);
    network.inside.push(netns);
    const { ip4, ip6 } = network;
    const nested = await NestedNetns.create(place, netns, {
      ...link,
      ip4: ip4 === undefined ? undefined : link.ip4,
      ip6: ip6 === undefined ? undefined : link.ip6,
    });
    if (ip4 !== undefined) {
      await this.netns.ip(`route add ${subnet4} via ${ip4}`);
      await this.remote.netns.ip(`route add ${subnet4} via ${WIRE.node4}`);
    }
    if (ip6 !== undefined) {
      await this.netns.ip(`route add ${subnet6} via ${ip6}`);
      await this.remote.netns.ip(`route add ${subnet6} via ${WIRE.node6}`);
    }
    return nested;
  }
}

interface PodNetwork {
  readonly ip4: string | undefined;
  readonly ip6: string | undefined;
  readonly netns: Namespace;
  /** The node's ends of its devices. */
  readonly links: string[];
  /** Namespaces nested in it. */
  readonly inside: Namespace[];
  readonly release: () => Promise<void>;
}

/** Whether the address is behind the other node's existing route. */
function isInside(ip: string): boolean {
  return ip.startsWith('10.66.0.') || /^fd66::[^:]+$/.test(ip);
}

/** Starts an API server that knows the node. Its cgroup is removed with it, also if the owner is interrupted. */
async function startCluster(name: string, directory: string, cgroup: Cgroup): Promise<KubernetesCluster> {
  const cluster = await KubernetesCluster.start(directory, cgroup);
  cluster.write({ apiVersion: 'v1', kind: 'Node', metadata: { name, labels: { 'kubernetes.io/hostname': name } } });
  await cluster.settled();
  return cluster;
}

/** Makes the bridge, the wire to the other node, and routes both ways. */
async function connectNodes(node: Namespace, other: Namespace): Promise<void> {
  const { bridge, gateway4, gateway6, subnet4, subnet6 } = POD_NETWORK;
  await node.ip(
    // The address is fixed: the bridge would change its own with every pod, and leave stale neighbours behind.
    `link add ${bridge} address 02:66:00:00:00:01 type bridge mcast_snooping 0`,
    `addr add ${gateway4}/24 dev ${bridge}`,
    `addr add ${gateway6}/64 dev ${bridge} nodad`,
    `link set ${bridge} up`,
    `link add wire type veth peer name wire netns ${other.pid}`,
    `addr add ${WIRE.node4}/24 dev wire`,
    `addr add ${WIRE.node6}/64 dev wire nodad`,
    'link set wire up',
  );
  await other.ip(
    `addr add ${WIRE.other4}/24 dev wire`,
    `addr add ${WIRE.other6}/64 dev wire nodad`,
    'link set wire up',
    ...REMOTE_NETWORK.hosts4.map((ip) => `addr add ${ip}/32 dev lo`),
    ...REMOTE_NETWORK.hosts6.map((ip) => `addr add ${ip}/128 dev lo nodad`),
    `route add ${subnet4} via ${WIRE.node4}`,
    `route add ${subnet6} via ${WIRE.node6}`,
  );
  await node.ip(
    `route add ${REMOTE_NETWORK.subnet4} via ${WIRE.other4}`,
    `route add ${REMOTE_NETWORK.subnet6} via ${WIRE.other6}`,
  );
}
