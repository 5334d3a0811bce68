// Pods that dial with their first instruction, started by a real kubelet beside the agent: every dial has to be in the mesh.
// SLUICE_STARTS=N makes N more such starts, some at a time, and prints what became of them.
import { startTable, summaryOf } from '@sluice/bench';
import {
  applicationDeployment,
  namespaceObject,
  PATIENCE_MS,
  RealCluster,
  requires,
  ztunnelDaemonSet,
} from '@sluice/testbed';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { MODE } from './cluster/applications.js';
import { tellWhatWasSaid } from './cluster/last-words.js';
import { NAMESPACE, Release } from './cluster/release.js';
import { startJob, startsOf, toldOf, type Start } from './cluster/starts.js';
import { addressOf } from './cluster/way.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector', 'busybox', 'kubernetes');

const MESHED = 'shop';
const JOBS = 40;
const STARTS = Number(process.env['SLUICE_STARTS'] ?? 0);
/** Of the further starts. Those of one Job are counted, and removed, together. */
const AT_A_TIME = 4;
const BATCH = 50;
/** For all pods of a Job, in ms per pod. */
const LONGEST_MS = 20_000;

describe.skipIf(need.skip)(`pods that dial at once, in a real cluster${need.label}`, () => {
  let cluster: RealCluster;
  let to: string;

  beforeAll(async () => {
    const image = process.env['SLUICE_IMAGE_ARCHIVE'];
    if (image === undefined) throw new Error('SLUICE_IMAGE_ARCHIVE names no image; run `npm run test:cluster`');
    cluster = await RealCluster.start({ images: [image] });
    await cluster.kubectl.apply(
      namespaceObject(NAMESPACE, {}),
      namespaceObject('office', {}),
      namespaceObject(MESHED, { [MODE]: 'ambient' }),
      ...ztunnelDaemonSet(),
      applicationDeployment({ namespace: 'office', name: 'desk' }),
    );
    await cluster.rolledOut(NAMESPACE, 'daemonset/ztunnel');
    await new Release(cluster).install();
    await cluster.rolledOut(NAMESPACE, 'daemonset/sluice-node');
    await cluster.rolledOut('office', 'deployment/desk');
    const [target] = await cluster.pods('office');
    if (target === undefined) throw new Error('the pod that is dialled is missing');
    to = addressOf(target);
  });
  afterEach(async ({ task }) => {
    if (task.result?.state === 'fail') await tellWhatWasSaid(cluster);
  });
  afterAll(() => cluster?.close());

  /** Lets these Jobs run, and removes them with their pods. */
  async function startsOfAll(patienceMs: number, ...jobs: readonly unknown[]): Promise<Start[]> {
    await cluster.kubectl.apply(...jobs);
    const starts = await startsOf(cluster, MESHED, patienceMs);
    await cluster.kubectl.run(['delete', 'jobs', '--all', '-n', MESHED, '--cascade=foreground']);
    return starts;
  }

  /** Prints what became of the starts; every dial of every one has to have been in the mesh. */
  async function judge(starts: readonly Start[], expected: number): Promise<void> {
    const summary = summaryOf(starts.map(({ sample }) => sample));
    process.stdout.write(`${[startTable(summary), ...(await toldOf(cluster, starts))].join('\n')}\n`);
    expect(summary).toMatchObject({ starts: expected, firstInMesh: expected, isAsPromised: true });
  }

  test(`${JOBS} Jobs that start at once are in the mesh with their first dial`, async () => {
    const jobs = Array.from({ length: JOBS }, (_, n) => startJob({ namespace: MESHED, name: `job-${n}`, to }));
    await judge(await startsOfAll(PATIENCE_MS, ...jobs), JOBS);
  });

  if (STARTS > 0)
    test(
      `${STARTS} starts, ${AT_A_TIME} at a time, are in the mesh with their first dial`,
      async () => {
        const starts: Start[] = [];
        while (starts.length < STARTS) {
          const pods = Math.min(BATCH, STARTS - starts.length);
          const job = startJob({ namespace: MESHED, name: `job-${starts.length}`, to, pods, atATime: AT_A_TIME });
          starts.push(...(await startsOfAll(pods * LONGEST_MS, job)));
          process.stderr.write(`${starts.length} of ${STARTS} starts\n`);
        }
        await judge(starts, STARTS);
      },
      STARTS * LONGEST_MS,
    );
});
