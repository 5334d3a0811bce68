// The only node of a cluster: its mounts, its container runtime with the images, and its kubelet.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import * as Schema from 'effect/Schema';
import type { Cgroup } from '../cgroup.js';
import { Containerd } from './containerd.js';
import type { ControlPlane } from './control-plane.js';
import { SANDBOX_IMAGE, writeTestbedImages } from './images.js';
import { Kubectl } from './kubectl.js';
import { Kubelet } from './kubelet.js';
import { Conditions } from './live-pod.js';
import type { ClusterNetwork } from './network.js';
import { NodeMounts } from './node-mounts.js';

export interface NodePlace {
  readonly directory: string;
  readonly cgroup: Cgroup;
  readonly network: ClusterNetwork;
  readonly controlPlane: ControlPlane;
  readonly images: readonly string[];
}

const NAME = 'node-a';

const NodeObject = Schema.Struct({ status: Schema.Struct({ conditions: Conditions }) });

export class ClusterNode {
  readonly name = NAME;
  readonly mounts: NodeMounts;
  readonly containerd: Containerd;
  readonly kubelet: Kubelet;

  private constructor(parts: { mounts: NodeMounts; containerd: Containerd; kubelet: Kubelet }) {
    this.mounts = parts.mounts;
    this.containerd = parts.containerd;
    this.kubelet = parts.kubelet;
  }

  /** Fulfilled when Kubernetes reports that it is Ready. */
  static async start({ directory, cgroup, network, controlPlane, images }: NodePlace): Promise<ClusterNode> {
    const logs = join(directory, 'node');
    mkdirSync(logs);
    const mounts = await NodeMounts.create(directory, cgroup.child('mounts'));
    const containerd = await Containerd.start(
      { mounts, network, logs, cgroup: cgroup.child('containerd') },
      SANDBOX_IMAGE,
    );
    for (const archive of [...(await writeTestbedImages(logs)), ...images]) await containerd.importImage(archive);
    const kubelet = new Kubelet(NAME, {
      // It has a cgroup of its own, like a service of systemd: by that the kubelet's probes are recognised.
      cgroup: cgroup.child('kubelet'),
      cgroupRoot: cgroup.hierarchyPath,
      logs,
      mounts,
      network,
      controlPlane,
    });
    await kubelet.start();
    const kubectl = new Kubectl(controlPlane.kubeconfig);
    await kubelet.daemon.until(`node ${NAME} is Ready`, async () => {
      const { status } = await kubectl.get(NodeObject, 'node', NAME);
      const ready = status.conditions?.find(({ type }) => type === 'Ready');
      if (ready?.status !== 'True') throw new Error(`its condition Ready is ${ready?.status ?? 'not there'}`);
    });
    return new ClusterNode({ mounts, containerd, kubelet });
  }
}
