// B5: pods whose application dials with its first instruction. What the testbed does at each start, and what is kept of it.
import { createWriteStream, mkdirSync, writeFileSync, type WriteStream } from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import {
  Attempts,
  dialsAtOnce,
  endpoint,
  KUBELET_ORDER,
  KUBELET_PAUSES,
  until,
  type Pod,
  type PodStart,
} from '@sluice/testbed';
import { thisMachine, type Machine } from '../machine.js';
import { createMeshedNode, MESHED, type MeshedNode } from '../meshed-node.js';
import { distributionSvg } from '../plots.js';
import { Progress } from '../progress.js';
import { randomFrom } from '../random.js';
import type { StartOptions } from './options.js';
import { sampleOf, type Sample } from './sample.js';
import { summaryOf, type StartSummary } from './summary.js';
import { startTable } from './table.js';

/** A pod is observed until so many of its dials have been accepted by somebody. */
const SUCCESSES = 5;
/** Or until it has lived so long: longer than a connection is held (policy.holdLimit). */
const LONGEST_MS = 90_000;
const PORT = 80;

/** Whether everything was as promised. */
export async function benchStart(options: StartOptions): Promise<boolean> {
  const machine = thisMachine();
  process.stderr.write(`bench: ${options.starts} starts, seed ${options.seed}\n`);
  const samples = await allStarts(options);
  const summary = summaryOf(samples);
  if (options.out !== undefined) keep(options.out, machine, options, summary, samples);
  process.stdout.write(
    options.output === 'json'
      ? `${JSON.stringify({ machine, seed: options.seed, ...summary })}\n`
      : `${startTable(summary)}\n`,
  );
  return summary.isAsPromised;
}

async function allStarts(options: StartOptions): Promise<Sample[]> {
  const { starts, atATime, seed, out } = options;
  const random = randomFrom(seed);
  const samples: Sample[] = [];
  const progress = new Progress(starts);
  await using place = await createMeshedNode();
  const file = out === undefined ? undefined : samplesFile(out);
  let next = 0;
  const workers = Array.from({ length: Math.min(atATime, starts) }, async () => {
    while (next < starts) {
      const sample = await oneStart(place, next++, random, options.delays);
      samples.push(sample);
      file?.write(`${JSON.stringify(sample)}\n`);
      progress.at(samples.length, () => {
        const { mesh, direct, refused, failed } = summaryOf(samples).dials;
        return `dials in the mesh ${mesh}, direct ${direct}, refused ${refused}, failed ${failed}`;
      });
    }
  });
  await Promise.all(workers);
  file?.end();
  if (file !== undefined) await once(file, 'finish');
  return samples;
}

async function oneStart(
  { node, agent }: MeshedNode,
  start: number,
  random: () => number,
  delays: StartOptions['delays'],
): Promise<Sample> {
  const family = random() < 0.5 ? 4 : 6;
  const target = endpoint(family === 4 ? node.remote.ip4 : node.remote.ip6, PORT);
  const pod = node.plan({
    name: `p${start}`,
    namespace: MESHED,
    app: dialsAtOnce([target], { successes: SUCCESSES, timeoutMs: LONGEST_MS }),
    start: delays === 'none' ? KUBELET_ORDER : spread(KUBELET_PAUSES, random),
  });
  try {
    await Promise.all([pod.start(), observed(pod)]);
    if (!agent.process.running) throw new Error(`the agent has ended: ${agent.process.stderr}`);
    return sampleOf(start, family, Attempts.of(pod.app).all);
  } finally {
    await pod.delete();
  }
}

/** Fulfilled when the application has ended, or has lived long enough. */
async function observed(pod: Pod): Promise<void> {
  const app = await until(`pod ${pod.name} has started its application`, () => {
    const found = pod.containers.find(({ name }) => name === 'app');
    if (found === undefined) throw new Error('it has not');
    return found;
  });
  const timer = setTimeout(() => app.process.signal('SIGKILL'), LONGEST_MS);
  await app.process.exited;
  clearTimeout(timer);
}

/** Each pause half to one and a half of its length, so that nothing keeps step with anything. */
function spread(start: PodStart, random: () => number): PodStart {
  return start.map((entry) => (typeof entry === 'number' ? Math.round(entry * (0.5 + random())) : entry));
}

function samplesFile(out: string): WriteStream {
  mkdirSync(out, { recursive: true });
  return createWriteStream(join(out, 'samples.jsonl'));
}

function keep(
  out: string,
  machine: Machine,
  { starts, delays, atATime, seed }: StartOptions,
  summary: StartSummary,
  samples: readonly Sample[],
): void {
  const settings = { starts, delays, atATime, seed };
  writeFileSync(join(out, 'summary.json'), `${JSON.stringify({ machine, settings, ...summary }, undefined, 2)}\n`);
  const values = samples.flatMap(({ waitMs }) => (waitMs === undefined ? [] : [waitMs]));
  const { p50: median, p99, max } = summary.waitMs;
  const svg = distributionSvg({
    title: 'From the first instruction of an application to its first connection in the mesh',
    subtitle:
      `${summary.starts} starts, ${atATime} at a time, pauses: ${delays}; ` +
      `${summary.dials.direct} dials direct, ${summary.dials.refused} refused; Linux ${machine.kernel}, ${machine.cores} cores`,
    label: 'ms',
    values,
    marked: values.length === 0 ? {} : { median: median ?? 0, p99: p99 ?? 0, max: max ?? 0 },
  });
  writeFileSync(join(out, 'wait.svg'), svg);
}
