// Jobs whose pods dial from their first instruction on, and what became of each dial.
import { sampleOf, type Sample } from '@sluice/bench';
import {
  APPLICATION_IMAGE,
  dialsAtOnce,
  readAttempt,
  type Attempt,
  type LivePod,
  type RealCluster,
} from '@sluice/testbed';
import { NAMESPACE } from './release.js';

/** A pod lives about a second. */
const DIALS = { successes: 20, pauseMs: 50 };
/** Longer than a connection is held (policy.holdLimit). */
const LONGEST_MS = 90_000;

export interface StartJob {
  readonly namespace: string;
  readonly name: string;
  /** ip:port */
  readonly to: string;
  /** How many pods it starts, one after another, and how many of them at a time. Default 1. */
  readonly pods?: number;
  readonly atATime?: number;
}

/** What one pod dialled. */
export interface Start {
  readonly pod: LivePod;
  readonly sample: Sample;
}

/** A pod that ends otherwise than by itself fails the Job: none is started in its place. */
export function startJob({ namespace, name, to, pods = 1, atATime = 1 }: StartJob): unknown {
  const args = dialsAtOnce([to], { ...DIALS, timeoutMs: LONGEST_MS });
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { namespace, name },
    spec: {
      completions: pods,
      parallelism: atATime,
      backoffLimit: 0,
      template: {
        spec: {
          restartPolicy: 'Never',
          terminationGracePeriodSeconds: 1,
          containers: [{ name: 'app', image: APPLICATION_IMAGE, imagePullPolicy: 'Never', args }],
        },
      },
    },
  };
}

/** Fulfilled when every Job of a namespace has ended well: what its pods dialled. */
export async function startsOf(cluster: RealCluster, namespace: string, patienceMs: number): Promise<Start[]> {
  const { kubectl } = cluster;
  const place = ['-n', namespace];
  await kubectl.run(['wait', ...place, '--for=condition=Complete', `--timeout=${patienceMs / 1000}s`, 'jobs', '--all']);
  const pods = await cluster.pods(namespace);
  const lines = await kubectl.run(['logs', ...place, '-l', 'batch.kubernetes.io/job-name', '--prefix', '--tail=-1']);
  const attempts = attemptsByPod(lines);
  return pods.map((pod, index) => ({ pod, sample: sampleOf(index, 4, attempts.get(pod.metadata.name) ?? []) }));
}

/** A line begins with [pod/NAME/CONTAINER]. */
function attemptsByPod(lines: readonly string[]): ReadonlyMap<string, readonly Attempt[]> {
  const found = new Map<string, Attempt[]>();
  for (const line of lines) {
    const [, name = '', said = ''] = /^\[pod\/([^/]+)\/[^\]]+\] (.*)$/.exec(line) ?? [];
    found.set(name, [...(found.get(name) ?? []), readAttempt(said)]);
  }
  return found;
}

/** The pods of which a dial was not in the mesh, with the first such dial and what the agent logged of them. */
export async function toldOf({ kubectl }: RealCluster, starts: readonly Start[]): Promise<string[]> {
  const wrong = starts.filter(({ sample }) => sample.wrong !== undefined || sample.waitMs === undefined);
  if (wrong.length === 0) return [];
  const log = await kubectl.run(['logs', '-n', NAMESPACE, '-l', 'app.kubernetes.io/name=sluice', '--tail=-1']);
  return wrong.flatMap(({ pod: { metadata }, sample }) => [
    `--- ${metadata.name} (${metadata.uid}): ${JSON.stringify(sample)}`,
    ...log.filter((line) => line.includes(metadata.name) || line.includes(metadata.uid)),
  ]);
}
