// The kubelet of the cluster's only node, and its restart.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { Cgroup } from '../cgroup.js';
import { CONTAINERD_SOCKET } from './containerd.js';
import type { ControlPlane } from './control-plane.js';
import { Daemon } from './daemon.js';
import type { ClusterNetwork } from './network.js';
import type { NodeMounts } from './node-mounts.js';
import { clusterProgram } from './programs.js';

export interface KubeletPlace {
  /** The kubelet's own, below `pods`. */
  readonly cgroup: Cgroup;
  /** Path of the cgroup that contains the pods, the same in every hierarchy. */
  readonly cgroupRoot: string;
  readonly logs: string;
  readonly mounts: NodeMounts;
  readonly network: ClusterNetwork;
  readonly controlPlane: ControlPlane;
}

/** As the node sees them. */
const ROOT = '/var/lib/kubelet';
const CONFIG = `${ROOT}/config.yaml`;
const KUBECONFIG = `${ROOT}/kubeconfig`;
const CA = `${ROOT}/ca.crt`;

export class Kubelet {
  readonly node: string;
  readonly #place: KubeletPlace;
  #daemon: Daemon | undefined;

  constructor(node: string, place: KubeletPlace) {
    this.node = node;
    this.#place = place;
    const { mounts, network, cgroupRoot, controlPlane } = place;
    mkdirSync(mounts.path(ROOT), { recursive: true });
    const write = (path: string, text: string): void => writeFileSync(mounts.path(path), text, { mode: 0o600 });
    write(CONFIG, JSON.stringify(configuration(network, cgroupRoot)));
    write(CA, readFileSync(controlPlane.ca, 'utf8'));
    write(KUBECONFIG, readFileSync(controlPlane.kubeconfig, 'utf8').replace(controlPlane.ca, CA));
  }

  /** The present process. */
  get daemon(): Daemon {
    if (this.#daemon === undefined) throw new Error('the kubelet has not been started');
    return this.#daemon;
  }

  async start(): Promise<void> {
    const { cgroup, logs, mounts, network } = this.#place;
    const argv = [
      clusterProgram('kubelet'),
      `--config=${CONFIG}`,
      `--kubeconfig=${KUBECONFIG}`,
      `--root-dir=${ROOT}`,
      `--hostname-override=${this.node}`,
      `--node-ip=${network.nodeIp}`,
    ];
    this.#daemon = await Daemon.start('kubelet', mounts.command(argv), { cgroup, logs });
  }

  /** Restarts the kubelet; pods go on meanwhile. */
  async restart(): Promise<void> {
    await this.daemon.stop();
    await this.start();
  }
}

function configuration({ nodeIp }: ClusterNetwork, cgroupRoot: string): unknown {
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    // The API server asks it for logs and exec; nothing else is on this network.
    authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
    authorization: { mode: 'AlwaysAllow' },
    address: nodeIp,
    readOnlyPort: 0,
    healthzBindAddress: nodeIp,
    containerRuntimeEndpoint: `unix://${CONTAINERD_SOCKET}`,
    cgroupDriver: 'cgroupfs',
    cgroupRoot,
    cgroupsPerQOS: true,
    // Its controllers may be in hierarchies of version 1 on this machine; pods are in the unified one, too.
    failCgroupV1: false,
    enforceNodeAllocatable: [],
    failSwapOn: false,
    // It must not use the machine's: no iptables chains, no directories below /usr.
    makeIPTablesUtilChains: false,
    volumePluginDir: `${ROOT}/volume-plugins`,
    clusterDomain: 'cluster.local',
    clusterDNS: [nodeIp],
    resolvConf: '/dev/null',
    // A full disk of the machine does not concern this cluster; imported images could not be pulled again.
    evictionHard: Object.fromEntries(
      ['nodefs.available', 'nodefs.inodesFree', 'imagefs.available', 'imagefs.inodesFree'].map((of) => [of, '0%']),
    ),
    imageGCHighThresholdPercent: 100,
    nodeStatusUpdateFrequency: '2s',
  };
}
