// Sluice's chart as a release of the real Helm in a real cluster.
import { join } from 'node:path';
import { PATIENCE_MS, runToEnd, type RealCluster } from '@sluice/testbed';
import { chartPath, helmPath } from '../../src/index.js';

export const NAMESPACE = 'istio-system';
const RELEASE = 'sluice';
/** Helm waits only for hooks, and ends a hook that hangs. */
const PATIENCE = `${PATIENCE_MS / 1000}s`;

export class Release {
  readonly #cluster: RealCluster;

  constructor(cluster: RealCluster) {
    this.#cluster = cluster;
  }

  /** The chart's defaults, except for the path of the cluster's cgroup tree and an address that only this cluster has. */
  get values(): Readonly<Record<string, string>> {
    const { cgroup, network } = this.#cluster;
    return { 'ambient.enabled': 'true', 'host.cgroup': cgroup.path, 'metrics.listen': `${network.nodeIp}:15014` };
  }

  install(): Promise<string[]> {
    return this.#helm('install', RELEASE, chartPath, ...sets(this.values));
  }

  upgrade(values: Readonly<Record<string, string>>): Promise<string[]> {
    return this.#helm('upgrade', RELEASE, chartPath, '--reuse-values', ...sets(values));
  }

  uninstall(): Promise<string[]> {
    return this.#helm('uninstall', RELEASE);
  }

  #helm(...args: string[]): Promise<string[]> {
    const helm = helmPath();
    if (helm === undefined) throw new Error('there is no helm: install the optional npm packages (npm ci)');
    const { controlPlane, directory } = this.#cluster;
    // What Helm would keep in the home directory is removed with the cluster.
    const home = ['CACHE', 'CONFIG', 'DATA'].map((kind) => `HELM_${kind}_HOME=${join(directory, 'helm', kind)}`);
    const place = ['--kubeconfig', controlPlane.kubeconfig, '--namespace', NAMESPACE, '--timeout', PATIENCE];
    return runToEnd(['env', ...home, helm, ...args, ...place]);
  }
}

function sets(values: Readonly<Record<string, string>>): string[] {
  return Object.entries(values).flatMap(([name, value]) => ['--set', `${name}=${value}`]);
}
