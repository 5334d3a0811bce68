// A whole Kubernetes cluster of one node on this machine, and its removal.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Cgroup, cgroup1Roots, cgroup2Root } from '../cgroup.js';
import type { LoadOptions } from '../campaigns.js';
import { DialResult } from '../dialler.js';
import { parseLine } from '../json-line.js';
import { allEnded } from '../line-process.js';
import { removeAtExit, removeEverything, uniqueName, workDirectory } from '../ownership.js';
import { ControlPlane } from './control-plane.js';
import { Kubectl } from './kubectl.js';
import { LivePod } from './live-pod.js';
import { ClusterNetwork } from './network.js';
import { ClusterNode } from './node.js';
import { PATIENCE_MS } from '../patience.js';
import { PodLoad } from './pod-load.js';
import { podProcess } from './pod-process.js';

export interface RealClusterOptions {
  /** false: only the control plane. Default true. */
  readonly node?: boolean;
  /** Archives (docker-archive) of images, besides the testbed's own. */
  readonly images?: readonly string[];
}

export class RealCluster implements AsyncDisposable {
  /** The unique name that everything of this cluster has on the machine. */
  readonly id: string;
  /** Logs, keys, the node's /var; removed with the cluster. */
  readonly directory: string;
  /** The cgroup of all its processes; pods are in `kubepods/`, the kubelet in `kubelet/`. Programs are attached here. */
  readonly cgroup: Cgroup;
  readonly network: ClusterNetwork;
  readonly controlPlane: ControlPlane;
  readonly kubectl: Kubectl;
  readonly #node: ClusterNode | undefined;
  readonly #forget: () => void;

  private constructor(
    id: string,
    parts: {
      directory: string;
      cgroup: Cgroup;
      network: ClusterNetwork;
      controlPlane: ControlPlane;
      node: ClusterNode | undefined;
      forget: () => void;
    },
  ) {
    this.id = id;
    this.directory = parts.directory;
    this.cgroup = parts.cgroup;
    this.network = parts.network;
    this.controlPlane = parts.controlPlane;
    this.kubectl = new Kubectl(parts.controlPlane.kubeconfig);
    this.#node = parts.node;
    this.#forget = parts.forget;
  }

  /** Fulfilled when the node is Ready, or without a node when the API server is. */
  static async start(options: RealClusterOptions = {}): Promise<RealCluster> {
    const id = uniqueName();
    const forget = removeAtExit(() => removeEverything(id));
    try {
      const directory = workDirectory(id);
      const cgroup = new Cgroup(join(cgroup2Root(), id));
      // The kubelet wants its part of the tree to exist in every hierarchy.
      for (const root of cgroup1Roots()) mkdirSync(join(root, id));
      const network = await ClusterNetwork.claim(id);
      const place = { directory: join(directory, 'control-plane'), cgroup: cgroup.child('control-plane'), network };
      const controlPlane = await ControlPlane.start(place);
      const node =
        options.node === false
          ? undefined
          : await ClusterNode.start({ directory, cgroup, network, controlPlane, images: options.images ?? [] });
      return new RealCluster(id, { directory, cgroup, network, controlPlane, node, forget });
    } catch (error) {
      removeEverything(id);
      forget();
      throw error;
    }
  }

  get node(): ClusterNode {
    if (this.#node === undefined) throw new Error('this cluster has been started without a node');
    return this.#node;
  }

  /** The pods that are not being deleted, sorted by name. */
  async pods(namespace: string, selector = ''): Promise<LivePod[]> {
    const all = await this.kubectl.list(LivePod, 'pods', ['-n', namespace, '-l', selector]);
    return all.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  }

  /**
   * Fulfilled when every pod of a Deployment or DaemonSet is new and ready.
   * @param what as for kubectl: deployment/shop
   */
  async rolledOut(namespace: string, what: string): Promise<void> {
    const patience = `--timeout=${PATIENCE_MS / 1000}s`;
    await this.kubectl.run(['rollout', 'status', what, '-n', namespace, patience]);
  }

  /** Dials from inside a pod with the testbed's application image, one after the other. */
  async dial(from: LivePod, ...to: string[]): Promise<DialResult[]> {
    const { namespace = 'default', name } = from.metadata;
    const argv = ['/bin/peer', 'dial', ...to.flatMap((address) => ['--to', address])];
    return (await this.kubectl.exec(namespace, name, argv)).map((line) => parseLine(DialResult, line));
  }

  /** Makes connections from inside such a pod until they are stopped. */
  load(from: LivePod, to: readonly string[], options: LoadOptions = {}): Promise<PodLoad> {
    return PodLoad.start(this.kubectl, from, to, options);
  }

  /** The first process of a pod's first container. */
  podProcess(pod: LivePod): number {
    return podProcess(this.cgroup.path, pod);
  }

  /** Ends everything and removes it. Idempotent. */
  async close(): Promise<void> {
    removeEverything(this.id);
    this.#forget();
    await allEnded(new RegExp(`/${this.id}[/-]`));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
