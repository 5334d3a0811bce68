// A whole Kubernetes node in namespaces: the one object that most tests make. Removing it removes everything.
import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Agent, type AgentOptions } from './agent.js';
import { Cgroup, cgroup2Root } from './cgroup.js';
import type { ClusterState } from './cluster-state.js';
import { directRuntime, type ContainerRuntime } from './container-runtime.js';
import { HostProcess } from './host-process.js';
import { KubernetesCluster } from './kubernetes-cluster.js';
import { KubernetesDirectory } from './kubernetes-directory.js';
import { allEnded, LineProcess, runToEnd } from './line-process.js';
import { Namespace } from './namespace.js';
import { removeAtExit, removeEverything, uniqueName, workDirectory } from './ownership.js';
import { enterCommand, peerProgram, PURE_V2_ROOT } from './peer-program.js';
import { PodLogs } from './pod-logs.js';
import { NodeNetwork } from './pod-network.js';
import { Pod, type PodSpec } from './pod.js';
import { RemoteNode } from './remote-node.js';
import { RuncRuntime } from './runc-runtime.js';
import { POD_NETWORK, REMOTE_NETWORK, WIRE } from './topology.js';
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
  /** The directory of pods' logs: what /var/log/pods is on a real node. */
  readonly podLogs: string;
  readonly #outside: Cgroup;
  readonly #forget: () => void;
  readonly #network: NodeNetwork;
  readonly #logs: PodLogs;
  #runc: RuncRuntime | undefined;

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
    this.#network = new NodeNetwork(parts.netns, parts.remote.netns, parts.outside);
    this.podLogs = join(parts.directory, 'pod-logs');
    this.#logs = new PodLogs(this.podLogs, parts.outside);
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

  /** A running pod, made in the kubelet's order and published, unless configured otherwise. */
  async pod(spec: PodSpec): Promise<Pod> {
    const pod = this.plan(spec);
    await pod.start();
    return pod;
  }

  /** A pod of which nothing exists yet; its start() makes it, in one piece or in several. */
  plan(spec: PodSpec): Pod {
    return new Pod(spec, {
      hostIp: this.ip4,
      nodeName: this.name,
      hostAddresses: { ip4: this.ip4, ip6: this.ip6 },
      hostNetns: this.netns.path,
      kubepodsParent: this.cgroup,
      runtime: this.#runtime(spec),
      kubernetes: this.kubernetes,
      network: this.#network,
      logs: this.#logs,
    });
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
