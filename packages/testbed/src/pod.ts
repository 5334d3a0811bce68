// A pod: network namespace, cgroup, sandbox, containers, and the object that the API server would have.
import { randomBytes, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { dialSourcePorts, Load, type LoadOptions, type CampaignSummary, type SourcePortCampaign } from './campaigns.js';
import { Cgroup, removeCgroup } from './cgroup.js';
import type { ContainerRuntime } from './container-runtime.js';
import type { ClusterState } from './cluster-state.js';
import { Container } from './container.js';
import { Crowd } from './crowd.js';
import type { DialOptions, DialResult } from './dialler.js';
import { HostProcess } from './host-process.js';
import type { KubernetesObject, PodPhase, QosClass } from './kubernetes-objects.js';
import type { NestedNetns } from './nested-netns.js';
import { peerProgram } from './peer-program.js';
import { PodNetwork, type NodeNetwork } from './pod-network.js';
import { misreported, podObject } from './pod-object.js';
import type { PodLogs } from './pod-logs.js';
import { KUBELET_ORDER, SANDBOX_STEPS, without, type PodStart, type PodStep } from './pod-start.js';
import { readResolution, resolveArguments, type Resolution, type ResolveOptions } from './resolution.js';
import { serveArguments, Server, type ServeOptions } from './server.js';
import { Stream } from './stream.js';
import type { Addresses } from './topology.js';

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
  /** The steps of its start, with pauses. Default KUBELET_ORDER. */
  readonly start?: PodStart;
  /** Whether Kubernetes is told of it; otherwise its start has neither `object` nor `status`. Default true. */
  readonly publish?: boolean;
  /** What the first process of its application does: the peer's arguments. Without them it waits to dial. */
  readonly app?: readonly string[];
  /**
   * Made by the kubelet from a file: its name ends in the node's, its cgroup has the hash of the manifest for a UID, and the
   * object is a mirror with a UID of its own. Default false.
   */
  readonly isStatic?: boolean;
}

/** What the node gives a pod. */
export interface PodSurroundings {
  readonly hostIp: string;
  readonly nodeName: string;
  /** Of pods in the host's network: the node's own. */
  readonly hostAddresses: Addresses;
  readonly hostNetns: string;
  readonly kubepodsParent: Cgroup;
  readonly runtime: ContainerRuntime;
  readonly kubernetes: ClusterState;
  readonly network: NodeNetwork;
  readonly logs: PodLogs;
}

export class Pod {
  /** The UID in the names of its cgroup and its directory of logs. */
  readonly uid: string;
  /** The UID of its object: another one only for a static pod. */
  readonly objectUid: string;
  readonly name: string;
  readonly namespace: string;
  /** Of the present sandbox. */
  readonly containers: Container[] = [];
  readonly #spec: PodSpec;
  readonly #around: PodSurroundings;
  readonly #cgroupPath: string;
  readonly #logs: string;
  #addresses: Addresses;
  #network: PodNetwork | undefined;
  #cgroup: Cgroup | undefined;
  #labels: Readonly<Record<string, string>>;
  #annotations: Readonly<Record<string, string>>;
  #phase: PodPhase = 'Running';
  #ready = true;
  #isReported = false;
  #isPublished = false;
  #misreported: Readonly<Record<string, unknown>> = {};
  #deleted = false;
  #server: Server | undefined;

  /** Nothing exists yet; see TestNode.pod(), which also starts it, and TestNode.plan(). */
  constructor(spec: PodSpec, around: PodSurroundings) {
    this.#spec = spec;
    this.#around = around;
    this.#labels = spec.labels ?? {};
    this.#annotations = spec.annotations ?? {};
    this.objectUid = randomUUID();
    this.uid = spec.isStatic === true ? randomBytes(16).toString('hex') : this.objectUid;
    this.name = spec.isStatic === true ? `${spec.name}-${around.nodeName}` : spec.name;
    this.namespace = spec.namespace ?? 'default';
    this.#cgroupPath = podCgroup(around.kubepodsParent.path, this.uid, spec.qosClass ?? 'besteffort', this.#style);
    this.#logs = around.logs.pathOf(this);
    this.#addresses = this.#reserve(spec);
  }

  /** Path of its network namespace. Throws before it is made. */
  get netns(): string {
    if (this.#isOnHost) return this.#around.hostNetns;
    return this.#network?.netns.path ?? this.#lacks('network namespace yet');
  }

  /** The pod-level cgroup. Throws before it is made. */
  get cgroup(): Cgroup {
    return this.#cgroup ?? this.#lacks('cgroup yet');
  }

  /** Path of its directory of logs. */
  get logs(): string {
    return this.#logs;
  }

  /** Its own, or the one that it will have. Throws if it has none. */
  get ip4(): string {
    return this.#addresses.ip4 ?? this.#lacks('IPv4 address');
  }

  /** Its own, or the one that it will have. Throws if it has none. */
  get ip6(): string {
    return this.#addresses.ip6 ?? this.#lacks('IPv6 address');
  }

  /** Its Pod IPs, IPv4 first. */
  get ips(): string[] {
    return [this.#addresses.ip4, this.#addresses.ip6].filter((ip) => ip !== undefined);
  }

  /** Whether Kubernetes has its object, as far as the testbed has written or removed it. */
  get isPublished(): boolean {
    return this.#isPublished;
  }

  /** Whether its object says what misreport() was told. */
  get isMisreported(): boolean {
    return Object.keys(this.#misreported).length > 0;
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

  /**
   * Takes the steps one after the other. Parts of a start may be taken in several calls, for example to look at what is there
   * before the application.
   */
  async start(start: PodStart = this.#spec.start ?? KUBELET_ORDER): Promise<void> {
    const steps = this.#spec.publish === false ? without(start, 'object', 'status') : start;
    for (const step of steps)
      if (typeof step === 'number') await sleep(step);
      else await this.#take[step]();
  }

  readonly #take: Readonly<Record<PodStep, () => Promise<void>>> = {
    object: async () => {
      this.#write();
      await this.#around.kubernetes.settled();
    },
    cgroup: async () => {
      this.#cgroup = new Cgroup(this.#cgroupPath);
    },
    logs: () => this.#around.logs.make(this.#logs),
    netns: async () => {
      if (!this.#isOnHost)
        this.#network = await PodNetwork.create(this.#around.network, this.#addresses, this.#spec.sysctls);
    },
    addresses: async () => {
      if (!this.#isOnHost) await this.#ownNetwork.connect();
    },
    sandbox: async () => {
      const sandbox = await this.startContainer('sandbox', ['pause']);
      await sandbox.process.lineMatching(/^ready$/);
    },
    app: async () => {
      await this.startContainer('app', this.#spec.app);
      if (this.#spec.serve !== undefined && this.#spec.serve.length > 0)
        this.#server = await this.serve(this.#spec.serve);
    },
    status: async () => {
      this.publish();
      await this.#around.kubernetes.settled();
    },
  };

  /** Starts another container. `args` are the peer's; without them its first process waits to dial. */
  async startContainer(name: string, args?: readonly string[]): Promise<Container> {
    const id = randomBytes(32).toString('hex');
    const directory = this.#style === 'systemd' ? `cri-containerd-${id}.scope` : id;
    const place = { id, cgroup: join(this.#cgroupPath, directory), netns: this.netns };
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
    return this.#ownNetwork.addAddress(ip, device);
  }

  /** Takes an address away again, one of its Pod IPs included. */
  removeAddress(ip: string, device = 'eth0'): Promise<void> {
    return this.#ownNetwork.removeAddress(ip, device);
  }

  /**
   * Adds a device on the node's bridge, with addresses of its own that Kubernetes does not know of (multus' net1). Its
   * default routes come after those of eth0: it carries what is bound to it.
   */
  addDevice(device: string): Promise<Addresses> {
    return this.#ownNetwork.addDevice(device);
  }

  /** Starts a process of this pod (by its cgroup) in a network namespace of its own, behind the pod's. */
  nestedNetns(): Promise<NestedNetns> {
    return this.#ownNetwork.nest(this.app.place);
  }

  /** Starts one more process in the application's container, which goes on when that has ended; see finish(). */
  process(): Promise<HostProcess> {
    return HostProcess.start(peerProgram(), new Cgroup(this.app.place.cgroup), this.netns);
  }

  /**
   * The runtime makes the sandbox anew, as after a crash of pause: its processes end, its namespace and addresses go, and a pod of
   * the same UID gets new ones. `start` has what is made again.
   */
  async remakeSandbox({
    start = SANDBOX_STEPS,
    ...wanted
  }: { readonly ip4?: string; readonly ip6?: string; readonly start?: PodStart } = {}): Promise<void> {
    for (const container of this.containers) removeCgroup(container.place.cgroup);
    await Promise.all(this.containers.map((container) => container.process.exited));
    this.containers.length = 0;
    await this.#releaseNetwork();
    this.#addresses = this.#reserve(wanted);
    await this.start(start);
  }

  /** Its containers end by themselves, and Kubernetes hears of it. What else runs in their cgroups goes on. */
  async finish(phase: 'Succeeded' | 'Failed'): Promise<void> {
    for (const container of this.containers.toReversed()) await container.stop();
    this.update({ phase });
    await this.#around.kubernetes.settled();
  }

  /** Tells Kubernetes what the pod is like now; `node.kubernetes.settled()` waits until that is done. */
  publish(): void {
    this.#isReported = true;
    this.#write();
  }

  /** Changes what the API server says about the pod, and publishes it; its addresses only if they have been reported before. */
  update(change: {
    labels?: Readonly<Record<string, string>>;
    annotations?: Readonly<Record<string, string>>;
    phase?: PodPhase;
    ready?: boolean;
  }): void {
    this.#labels = change.labels ?? this.#labels;
    this.#annotations = change.annotations ?? this.#annotations;
    this.#phase = change.phase ?? this.#phase;
    this.#ready = change.ready ?? this.#ready;
    if (this.#isPublished) this.#write();
    else this.publish();
  }

  /**
   * From now on its object has these values at these dotted paths, such as `status.podIP`, whatever is true; undefined takes the
   * field away. `{}` tells the truth again. It is published at once if the pod has been.
   */
  misreport(fields: Readonly<Record<string, unknown>>): void {
    this.#misreported = fields;
    if (this.#isPublished) this.#write();
  }

  /** Takes the object away as a deletion without grace does: nothing else of the pod ends. */
  async removeObject(): Promise<void> {
    this.#around.kubernetes.remove(this.manifest());
    this.#isPublished = false;
    await this.#around.kubernetes.settled();
  }

  /** The pod as a Kubernetes object, with status. */
  manifest(): KubernetesObject {
    const spec = this.#spec;
    const started = this.containers.filter(({ name }) => name !== 'sandbox');
    const mirror = {
      'kubernetes.io/config.hash': this.uid,
      'kubernetes.io/config.mirror': this.uid,
      'kubernetes.io/config.source': 'file',
    };
    const object = podObject({
      name: this.name,
      namespace: this.namespace,
      uid: this.objectUid,
      labels: this.#labels,
      annotations: spec.isStatic === true ? { ...mirror, ...this.#annotations } : this.#annotations,
      serviceAccountName: spec.serviceAccountName ?? 'default',
      hostNetwork: this.#isOnHost,
      qosClass: spec.qosClass ?? 'besteffort',
      nodeName: this.#around.nodeName,
      hostIp: this.#around.hostIp,
      securityContext: spec.securityContext,
      containers: started.some(({ name }) => name === 'app') ? started : [{ name: 'app' }, ...started],
      status: this.#isReported ? { phase: this.#phase, ready: this.#ready, ips: this.ips } : undefined,
    });
    return misreported(object, this.#misreported);
  }

  /** Ends its processes, removes its cgroup and its namespace, and removes it from Kubernetes. Idempotent. */
  async delete(): Promise<void> {
    if (this.#deleted) return;
    this.#deleted = true;
    this.#around.kubernetes.remove(this.manifest());
    removeCgroup(this.#cgroupPath);
    await Promise.all(this.containers.map((container) => container.process.exited));
    removeCgroup(this.#cgroupPath); // a runtime that was starting a container may have made it again
    await this.#releaseNetwork();
    this.#around.logs.remove(this.#logs);
    await this.#around.kubernetes.settled();
  }

  get #isOnHost(): boolean {
    return this.#spec.hostNetwork === true;
  }

  get #ownNetwork(): PodNetwork {
    return this.#network ?? this.#lacks(this.#isOnHost ? 'network of its own' : 'network namespace yet');
  }

  #write(): void {
    this.#isPublished = true;
    this.#around.kubernetes.ensureNamespace(this.namespace);
    this.#around.kubernetes.write(this.manifest());
  }

  #reserve(wanted: { readonly ip4?: string; readonly ip6?: string }): Addresses {
    return this.#isOnHost
      ? this.#around.hostAddresses
      : this.#around.network.reserve(this.#spec.families ?? [4, 6], wanted);
  }

  async #releaseNetwork(): Promise<void> {
    await this.#network?.release();
    this.#network = undefined;
    if (!this.#isOnHost) this.#around.network.giveBack(this.#addresses);
  }

  #lacks(what: string): never {
    throw new Error(`pod ${this.namespace}/${this.name} has no ${what}`);
  }
}

/**
 * cgroupfs driver: kubepods/besteffort/pod<uid>, and a guaranteed pod directly below kubepods.
 * systemd driver: kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod<uid, "_" for "-">.slice.
 * (kubernetes pkg/kubelet/cm/cgroup_manager_linux.go)
 */
function podCgroup(parent: string, uid: string, qosClass: QosClass, style: CgroupStyle): string {
  const qos = qosClass === 'guaranteed' ? [] : [qosClass];
  if (style === 'cgroupfs') return join(parent, 'kubepods', ...qos, `pod${uid}`);
  const parts = ['kubepods', ...qos, `pod${uid.replaceAll('-', '_')}`];
  return join(parent, ...parts.map((_, i) => `${parts.slice(0, i + 1).join('-')}.slice`));
}
