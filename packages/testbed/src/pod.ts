// A pod: network namespace, cgroup, sandbox, containers, and the manifest that the API server would have.
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { dialSourcePorts, Load, type LoadOptions, type CampaignSummary, type SourcePortCampaign } from './campaigns.js';
import { removeCgroup, type Cgroup } from './cgroup.js';
import type { ContainerPlace, ContainerRuntime } from './container-runtime.js';
import type { ClusterState } from './cluster-state.js';
import { Container } from './container.js';
import { Crowd } from './crowd.js';
import type { DialOptions, DialResult } from './dialler.js';
import type { KubernetesObject, PodPhase, QosClass } from './kubernetes-objects.js';
import type { NestedNetns } from './nested-netns.js';
import { readResolution, resolveArguments, type Resolution, type ResolveOptions } from './resolution.js';
import { serveArguments, Server, type ServeOptions } from './server.js';
import { Stream } from './stream.js';

/** How the kubelet and the runtime name a pod's cgroups: by the cgroupfs or by the systemd driver. */
export type CgroupStyle = 'cgroupfs' | 'systemd';

export interface PodSpec {
  readonly name: string;
  /** Default 'default'. */
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Default 'default'. */
  readonly serviceAccountName?: string;
  /** Default 'besteffort'. */
  readonly qosClass?: QosClass;
  /** Default 'cgroupfs'. */
  readonly cgroupStyle?: CgroupStyle;
  /** Real containers by runc instead of plain processes. Default 'direct'. */
  readonly runtime?: 'direct' | 'runc';
  /** Whether it is in the node's network namespace, with the node's addresses. Default false. */
  readonly hostNetwork?: boolean;
  /** Its address families. Default both. Without 6 it still has ::1, unless `sysctls` disable IPv6. */
  readonly families?: readonly (4 | 6)[];
  /** Set in its network namespace before it has a device, for example `net.ipv6.conf.all.disable_ipv6: '1'`. */
  readonly sysctls?: Readonly<Record<string, string>>;
  /** Addresses to use instead of the next free ones, for example a recycled Pod IP. */
  readonly ip4?: string;
  readonly ip6?: string;
  /** What Kubernetes says of its containers' securityContext; their processes do not change. */
  readonly securityContext?: Readonly<Record<string, unknown>>;
  /** Ports on which the pod's application listens from the start, on every address. */
  readonly serve?: readonly number[];
  /** Whether Kubernetes is told of it as soon as it is up. Default true. */
  readonly publish?: boolean;
}

/** What the node gives a pod. */
export interface PodSurroundings {
  readonly ip4: string | undefined;
  readonly ip6: string | undefined;
  readonly hostIp: string;
  readonly nodeName: string;
  readonly netns: string;
  readonly kubepodsParent: Cgroup;
  readonly runtime: ContainerRuntime;
  readonly kubernetes: ClusterState;
  /** Adds an address to a device of the pod, and routes it to the pod. */
  readonly addAddress: (ip: string, device: string) => Promise<void>;
  /** Adds a device with a link of its own to the node. */
  readonly addDevice: (device: string) => Promise<DeviceAddresses>;
  /** Makes a namespace behind the pod's own, whose container goes into this cgroup. */
  readonly nest: (place: ContainerPlace) => Promise<NestedNetns>;
  /** Called once, when the pod is deleted. */
  readonly release: () => Promise<void>;
}

/** What a further device of a pod has, of the families that the pod has. */
export interface DeviceAddresses {
  readonly ip4: string | undefined;
  readonly ip6: string | undefined;
}

export class Pod {
  readonly uid = randomUUID();
  readonly name: string;
  readonly namespace: string;
  /** Path of its network namespace. */
  readonly netns: string;
  /** The pod-level cgroup. */
  readonly cgroup: Cgroup;
  readonly containers: Container[] = [];
  readonly #spec: PodSpec;
  readonly #around: PodSurroundings;
  #labels: Readonly<Record<string, string>>;
  #phase: PodPhase = 'Running';
  #ready = true;
  #deleted = false;
  #server: Server | undefined;

  /** See TestNode.pod(), which makes the surroundings and starts the containers. */
  constructor(spec: PodSpec, around: PodSurroundings) {
    this.#spec = spec;
    this.#around = around;
    this.#labels = spec.labels ?? {};
    this.name = spec.name;
    this.namespace = spec.namespace ?? 'default';
    this.netns = around.netns;
    this.cgroup = podCgroup(around.kubepodsParent, this.uid, spec.qosClass ?? 'besteffort', this.#style);
  }

  /** Throws if it has none. */
  get ip4(): string {
    return this.#around.ip4 ?? this.#lacks('IPv4');
  }

  /** Throws if it has none. */
  get ip6(): string {
    return this.#around.ip6 ?? this.#lacks('IPv6');
  }

  /** Its Pod IPs, IPv4 first. */
  get ips(): string[] {
    return [this.#around.ip4, this.#around.ip6].filter((ip) => ip !== undefined);
  }

  get labels(): Readonly<Record<string, string>> {
    return this.#labels;
  }

  get #style(): CgroupStyle {
    return this.#spec.cgroupStyle ?? 'cgroupfs';
  }

  /** The container that the pod was started with, beside its sandbox. */
  get app(): Container {
    const app = this.containers.find((container) => container.name === 'app');
    if (app === undefined) throw new Error(`pod ${this.namespace}/${this.name} has not been started`);
    return app;
  }

  /** Starts the sandbox (`peer pause`), then the application container, then its servers. */
  async start(): Promise<void> {
    const sandbox = await this.startContainer('sandbox', ['pause']);
    await sandbox.process.lineMatching(/^ready$/);
    await this.startContainer('app');
    if (this.#spec.serve !== undefined && this.#spec.serve.length > 0)
      this.#server = await this.serve(this.#spec.serve);
    if (this.#spec.publish === false) return;
    this.publish();
    await this.#around.kubernetes.settled();
  }

  /** Starts another container. `args` are the peer's; without them its first process waits to dial. */
  async startContainer(name: string, args?: readonly string[]): Promise<Container> {
    const id = randomBytes(32).toString('hex');
    const directory = this.#style === 'systemd' ? `cri-containerd-${id}.scope` : id;
    const place = { id, cgroup: join(this.cgroup.path, directory), netns: this.netns };
    const container = await Container.start(name, place, this.#around.runtime, args);
    this.containers.push(container);
    return container;
  }

  /** Dials from the application container. */
  dial(to: string, options?: DialOptions): Promise<DialResult> {
    return this.app.dial(to, options);
  }

  /** Starts a load from the application container, which runs until it is stopped; see Load. */
  load(targets: readonly string[], options?: LoadOptions): Promise<Load> {
    return Load.start(this.app, targets, options);
  }

  /** Makes sequential dials with few source ports, from the application container; see dialSourcePorts(). */
  dialSourcePorts(campaign: SourcePortCampaign): Promise<CampaignSummary> {
    return dialSourcePorts(this.app, campaign);
  }

  /** Opens many connections at once from the application container; see Crowd. */
  crowd(targets: readonly string[], count: number): Promise<Crowd> {
    return Crowd.start(this.app, targets, count);
  }

  /** Asks DNS servers from the application container. */
  async resolve(options: ResolveOptions): Promise<Resolution> {
    return readResolution(await this.app.exec(resolveArguments(options)));
  }

  /** Opens a long connection from the application container to a server that echoes; see Stream. */
  async stream(to: string): Promise<Stream> {
    return Stream.start(await this.app.exec(['stream', '--to', to]));
  }

  /** Starts a server in the application container; its answers say `<namespace>/<name>` unless told otherwise. */
  serve(ports: readonly number[], options: ServeOptions = {}): Promise<Server> {
    const args = serveArguments(ports, options.name ?? `${this.namespace}/${this.name}`, options);
    return Server.start(() => this.app.exec(args));
  }

  /** The server that it was started with. */
  get server(): Server {
    if (this.#server === undefined) throw new Error(`pod ${this.namespace}/${this.name} was started without 'serve'`);
    return this.#server;
  }

  /**
   * Adds an address that Kubernetes does not know of and that is reachable from everywhere: on 'eth0', on 'lo', or on another
   * device, which is made if it does not exist.
   */
  addAddress(ip: string, device = 'eth0'): Promise<void> {
    return this.#around.addAddress(ip, device);
  }

  /**
   * Adds a device on the node's bridge, with addresses of its own that Kubernetes does not know of (multus' net1). Its
   * default routes come after those of eth0: it carries what is bound to it.
   */
  addDevice(device: string): Promise<DeviceAddresses> {
    return this.#around.addDevice(device);
  }

  /** Starts a process of this pod (by its cgroup) in a network namespace of its own, behind the pod's. */
  nestedNetns(): Promise<NestedNetns> {
    return this.#around.nest(this.app.place);
  }

  /** Tells Kubernetes what the pod is like now; `node.kubernetes.settled()` waits until that is done. */
  publish(): void {
    this.#around.kubernetes.ensureNamespace(this.namespace);
    this.#around.kubernetes.write(this.manifest());
  }

  /** Changes what the API server says about the pod, and publishes it. */
  update(change: { labels?: Readonly<Record<string, string>>; phase?: PodPhase; ready?: boolean }): void {
    this.#labels = change.labels ?? this.#labels;
    this.#phase = change.phase ?? this.#phase;
    this.#ready = change.ready ?? this.#ready;
    this.publish();
  }

  /** The pod as a Kubernetes object, with status. */
  manifest(): KubernetesObject {
    const spec = this.#spec;
    const shown = this.containers.filter((container) => container.name !== 'sandbox');
    const ready = this.#ready && this.#phase === 'Running' ? 'True' : 'False';
    return {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        name: this.name,
        namespace: this.namespace,
        uid: this.uid,
        labels: this.#labels,
        annotations: spec.annotations ?? {},
        resourceVersion: createHash('sha256')
          .update(JSON.stringify([this.#labels, this.#phase, ready, shown.length]))
          .digest()
          .readUInt32BE()
          .toString(),
      },
      spec: {
        nodeName: this.#around.nodeName,
        serviceAccountName: spec.serviceAccountName ?? 'default',
        hostNetwork: spec.hostNetwork ?? false,
        containers: shown.map((container) => ({
          name: container.name,
          image: 'peer',
          securityContext: spec.securityContext,
        })),
      },
      status: {
        phase: this.#phase,
        hostIP: this.#around.hostIp,
        podIP: this.ips[0],
        podIPs: this.ips.map((ip) => ({ ip })),
        qosClass: { guaranteed: 'Guaranteed', burstable: 'Burstable', besteffort: 'BestEffort' }[
          spec.qosClass ?? 'besteffort'
        ],
        conditions: ['Initialized', 'ContainersReady', 'Ready', 'PodScheduled'].map((type) => ({
          type,
          status: /Ready/.test(type) ? ready : 'True',
        })),
        containerStatuses: shown.map((container) => ({
          name: container.name,
          ready: ready === 'True',
          restartCount: 0,
          containerID: `containerd://${container.id}`,
          state: { running: { startedAt: '2026-01-01T00:00:00Z' } },
        })),
      },
    };
  }

  /** Ends its processes, removes its cgroup and its namespace, and removes it from Kubernetes. Idempotent. */
  async delete(): Promise<void> {
    if (this.#deleted) return;
    this.#deleted = true;
    this.#around.kubernetes.remove(this.manifest());
    removeCgroup(this.cgroup.path);
    await Promise.all(this.containers.map((container) => container.process.exited));
    removeCgroup(this.cgroup.path); // a runtime that was starting a container may have made it again
    await this.#around.release();
    await this.#around.kubernetes.settled();
  }

  #lacks(family: string): never {
    throw new Error(`pod ${this.namespace}/${this.name} has no ${family} address`);
  }
}

/**
 * cgroupfs driver: kubepods/besteffort/pod<uid>, and a guaranteed pod directly below kubepods.
 * systemd driver: kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod<uid, "_" for "-">.slice.
 * (kubernetes pkg/kubelet/cm/cgroup_manager_linux.go)
 */
function podCgroup(parent: Cgroup, uid: string, qosClass: QosClass, style: CgroupStyle): Cgroup {
  const qos = qosClass === 'guaranteed' ? [] : [qosClass];
  if (style === 'cgroupfs') return parent.child(['kubepods', ...qos, `pod${uid}`].join('/'));
  const parts = ['kubepods', ...qos, `pod${uid.replaceAll('-', '_')}`];
  return parent.child(parts.map((_, i) => `${parts.slice(0, i + 1).join('-')}.slice`).join('/'));
}
