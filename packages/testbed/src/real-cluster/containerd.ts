// containerd as the node's runtime, with a CNI network of one bridge.
import { mkdirSync, writeFileSync } from 'node:fs';
import { copyFile, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Cgroup } from '../cgroup.js';
import { Daemon } from './daemon.js';
import type { ClusterNetwork } from './network.js';
import type { NodeMounts } from './node-mounts.js';
import { clusterProgram } from './programs.js';

export interface ContainerdPlace {
  readonly cgroup: Cgroup;
  readonly logs: string;
  readonly mounts: NodeMounts;
  readonly network: ClusterNetwork;
}

/** As the node sees it. */
export const CONTAINERD_SOCKET = '/run/containerd/containerd.sock';
const CONFIG = '/var/lib/containerd/config.toml';
const CNI_CONFIG = '/var/lib/cni/conf';
/** Those that use /opt of the machine, or look for devices and file systems of it. */
const DISABLED_PLUGINS = [
  'internal.v1.opt',
  ...['blockfile', 'btrfs', 'devmapper', 'erofs', 'zfs'].map((name) => `snapshotter.v1.${name}`),
];

export class Containerd {
  readonly daemon: Daemon;
  readonly #mounts: NodeMounts;

  private constructor(daemon: Daemon, mounts: NodeMounts) {
    this.daemon = daemon;
    this.#mounts = mounts;
  }

  /** @param sandboxImage the name of the image that holds a pod's namespaces; import it before the first pod */
  static async start(place: ContainerdPlace, sandboxImage: string): Promise<Containerd> {
    const { mounts, network, cgroup, logs } = place;
    for (const file of [CONFIG, join(CNI_CONFIG, 'x')]) mkdirSync(dirname(mounts.path(file)), { recursive: true });
    writeFileSync(mounts.path(CONFIG), configuration(sandboxImage));
    writeFileSync(mounts.path(join(CNI_CONFIG, '10-bridge.conflist')), JSON.stringify(bridgeNetwork(network)));
    // The shim and runc are found through PATH.
    const argv = mounts.command([clusterProgram('containerd'), '--config', CONFIG]);
    const daemon = await Daemon.start('containerd', argv, { cgroup, logs });
    const containerd = new Containerd(daemon, mounts);
    await daemon.until('containerd answers', () => containerd.#ctr('version'));
    return containerd;
  }

  /** @param archive a docker-archive: a tar file with one or more images and their names */
  async importImage(archive: string): Promise<void> {
    // It may be at a path where the node sees something else.
    const inside = join('/var/tmp', basename(archive));
    const copy = this.#mounts.path(inside);
    await copyFile(archive, copy);
    try {
      await this.#ctr('images', 'import', inside);
    } finally {
      await rm(copy);
    }
  }

  #ctr(...args: string[]): Promise<string[]> {
    return this.#mounts.run([clusterProgram('ctr'), '--namespace', 'k8s.io', ...args]);
  }
}

function configuration(sandboxImage: string): string {
  const text = JSON.stringify;
  return `version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [${DISABLED_PLUGINS.map((name) => text(`io.containerd.${name}`)).join(', ')}]

[grpc]
  address = ${text(CONTAINERD_SOCKET)}

[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = ${text(sandboxImage)}

[plugins."io.containerd.cri.v1.runtime"]
  # Without CAP_SYS_RESOURCE nobody can make a process less likely to be killed.
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = [${text(dirname(clusterProgram('host-local')))}]
    conf_dir = ${text(CNI_CONFIG)}
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      SystemdCgroup = false
`;
}

function bridgeNetwork(network: ClusterNetwork): unknown {
  const ipam = {
    type: 'host-local',
    ranges: [[{ subnet: network.podSubnet, gateway: network.nodeIp }]],
    routes: [{ dst: '0.0.0.0/0' }],
    dataDir: '/var/lib/cni/networks',
  };
  // As a gateway it gives pods a default route, which leads to the node and no further: the machine does not forward.
  const bridge = { type: 'bridge', bridge: network.bridge, isGateway: true, ipMasq: false, hairpinMode: true, ipam };
  return { cniVersion: '1.0.0', name: 'testbed', plugins: [bridge] };
}
