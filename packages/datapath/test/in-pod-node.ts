// A meshed node whose pods have their own ztunnel: their namespaces have the inbound program and the route back for the
// original source, and a ztunnel learns of them over ZDS. The tests do what the agent would do.
import { join } from 'node:path';
import { addRoute, addRule, Netns, netnsCookie, writeSysctl } from '@sluice/linux';
import {
  LineProcess,
  enterCommand,
  peerProgram,
  type InPodZtunnelOptions,
  type Pod,
  type PodSpec,
  type StandInZtunnel,
} from '@sluice/testbed';
import { ZdsServer } from '@sluice/zds';
import { BpfMap } from '@sluice/libbpf';
import { filter, firstValueFrom } from 'rxjs';
import { WorkloadFlag } from '../src/index.js';
import { MeshedNode } from './meshed-node.js';
import { prepareRouting } from './routed-netns.js';

export interface ListenerOptions {
  readonly name?: string;
  readonly ports?: readonly number[];
  /** ztunnel answers with its own line and does not dial the application. Default false. */
  readonly answer?: boolean;
  /** If it answers: whether it then sends back what it gets. Default false. */
  readonly echo?: boolean;
  /** If it answers: how many processes accept, because each may open only so many files. Default 1. */
  readonly processes?: number;
  /** Whether its output has a line for each connection. Default true. */
  readonly log?: boolean;
}

/** How what a pod dials gets to its ztunnel. */
export type Capture = 'rewrite' | 'route';

export interface InPodOptions {
  /** Of pods that do not say otherwise. Default 'rewrite'. */
  readonly capture?: Capture;
  readonly ztunnel?: Partial<Pick<InPodZtunnelOptions, 'originalSource'>>;
}

/** Istio's mark for packets that go back to ztunnel, and where the rule for it is (istio cni/pkg/iptables). */
const WAY_BACK = { fwmark: { value: 0x111, mask: 0xfff }, table: 100, priority: 32_764 } as const;

const REFLECTING = ['net.ipv4.tcp_fwmark_accept', 'net.ipv4.fwmark_reflect', 'net.ipv6.fwmark_reflect'];

export class InPodNode implements AsyncDisposable {
  readonly mesh: MeshedNode;
  readonly zds: ZdsServer;
  /** Listens for every pod of {@link pod}. A process belongs to ztunnel if it is in this one's cgroup. */
  readonly ztunnel: StandInZtunnel;
  readonly #capture: Capture;
  /** What the ZDS server is lent, by the pods' UIDs. */
  readonly #lent = new Map<string, Netns>();

  private constructor(mesh: MeshedNode, zds: ZdsServer, ztunnel: StandInZtunnel, capture: Capture) {
    this.mesh = mesh;
    this.zds = zds;
    this.ztunnel = ztunnel;
    this.#capture = capture;
  }

  static async create(options: InPodOptions = {}): Promise<InPodNode> {
    return InPodNode.on(await MeshedNode.create(), options);
  }

  /** Takes over the node. */
  static async on(mesh: MeshedNode, { capture = 'rewrite', ztunnel: options }: InPodOptions = {}): Promise<InPodNode> {
    try {
      const path = join(mesh.node.directory, 'zds.sock');
      const { server } = ZdsServer.listen({ path, workloads: [], authorize: () => true, acceptsPerSecond: 1000 });
      const ztunnel = await mesh.node.ztunnel({ mode: 'inPod', zdsSocket: path, ...options });
      mesh.setZtunnel(ztunnel);
      mesh.apply();
      return new InPodNode(mesh, server, ztunnel, capture);
    } catch (error) {
      await mesh.close();
      throw error;
    }
  }

  /**
   * Puts a pod into the mesh and captures it, or changes how; ztunnel is not told. `more`: further flags. What a capture by
   * route needs in the namespace stays there, because sockets that it has marked go on.
   */
  enrol(pod: Pod, more = 0, capture = this.#capture): void {
    this.leadBack(pod);
    using netns = Netns.open(pod.netns);
    this.mesh.datapath.attachNetns(netns);
    if (capture === 'route') this.mesh.datapath.setRouted(netns.cookie, prepareRouting(netns));
    this.mesh.enrol(pod, WorkloadFlag.IN_POD | (capture === 'route' ? WorkloadFlag.ROUTE : 0) | more);
    this.mesh.apply();
  }

  /** Says that the pod's namespace has another address. */
  own(pod: Pod, ip: string): void {
    const cookie = netnsCookie(pod.netns);
    this.mesh.ownAddresses.set(cookie, [...(this.mesh.ownAddresses.get(cookie) ?? []), ip]);
    this.mesh.apply();
  }

  /** Tells ztunnel of a pod; fulfilled when ztunnel listens there. */
  async serve({ uid, name, namespace, netns: path }: Pod): Promise<void> {
    const netns = this.#lent.get(uid) ?? Netns.open(path);
    this.#lent.set(uid, netns);
    const acked = firstValueFrom(this.zds.events.pipe(filter((event) => event.kind === 'acked' && event.uid === uid)));
    this.zds.set({ uid, name, namespace, serviceAccount: 'default', netns });
    await acked;
  }

  /** Tells ztunnel that a pod has left. */
  withdraw({ uid }: Pod): void {
    this.zds.delete(uid);
    this.#lent.get(uid)?.close();
    this.#lent.delete(uid);
  }

  /** Makes a pod that is in the mesh and for which ztunnel listens. */
  async pod(spec: PodSpec): Promise<Pod> {
    const pod = await this.mesh.node.pod(spec);
    this.enrol(pod);
    await this.serve(pod);
    return pod;
  }

  /** Lets ztunnel dial the application from the client's address, and the answers find ztunnel. */
  leadBack(pod: Pod): void {
    const { table } = WAY_BACK;
    using netns = Netns.open(pod.netns);
    for (const family of [4, 6] as const) {
      addRule(netns, { family, ...WAY_BACK });
      addRoute(netns, { family, table, type: 'local', destination: 'default', interface: 'lo' });
    }
    for (const sysctl of REFLECTING) writeSysctl(netns, sysctl, '1');
  }

  /** Opens more listeners like ztunnel's in a pod's namespace, by a process of ztunnel's cgroup. */
  listen(pod: Pod, options: ListenerOptions = {}): Promise<LineProcess> {
    return listenLikeZtunnel(pod, this.ztunnel.pod.app.place.cgroup, options);
  }

  /** The socket cookie of a pod's captured listener. */
  captured(pod: Pod, port: number): bigint | undefined {
    return this.mesh.datapath.capturedListener(netnsCookie(pod.netns), port);
  }

  /** How many connections are past the capture and not accepted yet. */
  exemptTuples(): number {
    using map = BpfMap.openPinned(`${this.mesh.pinDirectory}/maps/exempt_tuples`);
    return [...map.keys()].length;
  }

  async close(): Promise<void> {
    await this.zds.close();
    for (const netns of this.#lent.values()) netns.close();
    await this.mesh.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Opens the same sockets from any process. */
export async function listenLikeZtunnel(pod: Pod, cgroup: string, options: ListenerOptions = {}): Promise<LineProcess> {
  const { name = 'listener', ports = [15001, 15006] } = options;
  const argv = [
    peerProgram(),
    'ztunnel',
    '--name',
    name,
    '--ports',
    ports.join(','),
    ...(options.log === false ? [] : ['--log']),
    ...(options.answer === true ? ['--answer'] : []),
    ...(options.echo === true ? ['--echo'] : []),
    ...(options.processes === undefined ? [] : ['--processes', String(options.processes)]),
  ];
  const process = await LineProcess.start(enterCommand({ netns: pod.netns, cgroup }, argv));
  await process.lineMatching(/^ready$/);
  return process;
}
