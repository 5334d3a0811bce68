// What Istio is told about a pod: the annotation that the agent writes, as the API server has it.
import type { KubernetesCluster, Pod } from '@sluice/testbed';
import type { Report } from './report.js';
import { factRow } from './row.js';
import { until } from './until.js';

const REDIRECTION = 'ambient.istio.io/redirection';

/** `enabled`: peers may use HBONE. `pending`: wanted in the mesh, and not in it yet. */
type Redirection = 'enabled' | 'pending' | 'absent';

export class Announced {
  readonly #cluster: KubernetesCluster | undefined;
  readonly #report: Report;

  /** Without a cluster nothing is announced, and there are no rows. */
  constructor(cluster: KubernetesCluster | undefined, report: Report) {
    this.#cluster = cluster;
    this.#report = report;
  }

  /** Adds a row for the pod's annotation, and waits for it: the annotation follows what is done on the node. */
  async becomes(pod: Pod, expected: Redirection): Promise<void> {
    const cluster = this.#cluster;
    if (cluster === undefined) return;
    const { namespace, name } = pod;
    const { result, elapsedMs } = await until(
      async () => (await cluster.get('Pod', { namespace, name }))?.metadata.annotations?.[REDIRECTION] ?? 'absent',
      (found) => found === expected,
    );
    const row = factRow(`${REDIRECTION} of ${namespace}/${name}`, 'API server', result, expected, result === expected);
    this.#report.row({ ...row, afterMs: Math.ceil(elapsedMs) });
  }
}
