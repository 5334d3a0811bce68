// A meshed node whose pods have their own ztunnel: the inbound program in their namespaces, and processes of ztunnel's cgroup
// that listen there.
import { netnsCookie } from '@sluice/linux';
import { LineProcess, enterCommand, peerProgram, type Pod, type StandInZtunnel } from '@sluice/testbed';
import { WorkloadFlag } from '../src/index.js';
import { MeshedNode } from './meshed-node.js';

export interface ListenerOptions {
  readonly name?: string;
  readonly ports?: readonly number[];
  /** Its own line alone, and no dial to the application. Default false. */
  readonly answer?: boolean;
}

export class InPodNode implements AsyncDisposable {
  readonly mesh: MeshedNode;
  /** What makes a process ztunnel's: its cgroup. Nothing dials its own listeners. */
  readonly ztunnel: StandInZtunnel;

  private constructor(mesh: MeshedNode, ztunnel: StandInZtunnel) {
    this.mesh = mesh;
    this.ztunnel = ztunnel;
  }

  static async create(): Promise<InPodNode> {
    const mesh = await MeshedNode.create();
    try {
      const ztunnel = await mesh.node.ztunnel({ mode: 'answer' });
      mesh.setZtunnel(ztunnel);
      mesh.apply();
      return new InPodNode(mesh, ztunnel);
    } catch (error) {
      await mesh.close();
      throw error;
    }
  }

  /** In the mesh, and captured; `more`: flags. */
  enrol(pod: Pod, more = 0): void {
    this.mesh.datapath.attachNetns(netnsCookie(pod.netns), pod.netns);
    this.mesh.enrol(pod, WorkloadFlag.IN_POD | more);
    this.mesh.apply();
  }

  /** A pod that is in the mesh with its ztunnel listening. */
  async pod(spec: Parameters<MeshedNode['node']['pod']>[0], options?: ListenerOptions): Promise<Pod> {
    const pod = await this.mesh.node.pod(spec);
    this.enrol(pod);
    await this.listen(pod, options);
    return pod;
  }

  /** Listeners like ztunnel's in a pod's namespace, opened by a process of ztunnel's cgroup. */
  listen(pod: Pod, options: ListenerOptions = {}): Promise<LineProcess> {
    return listenLikeZtunnel(pod, this.ztunnel.pod.app.place.cgroup, options);
  }

  /** The socket cookie of a pod's captured listener. */
  captured(pod: Pod, port: number): bigint | undefined {
    return this.mesh.datapath.capturedListener(netnsCookie(pod.netns), port);
  }

  close(): Promise<void> {
    return this.mesh.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** The same sockets, whoever opens them. */
export async function listenLikeZtunnel(
  pod: Pod,
  cgroup: string,
  { name = 'ztunnel', ports = [15001, 15006, 15008], answer = false }: ListenerOptions = {},
): Promise<LineProcess> {
  const argv = [peerProgram(), 'ztunnel', '--name', name, '--ports', ports.join(','), '--log'];
  const process = await LineProcess.start(
    enterCommand({ netns: pod.netns, cgroup }, answer ? [...argv, '--answer'] : argv),
  );
  await process.lineMatching(/^ready$/);
  return process;
}
