// `bench soak`: random runs until the time is over; a failure is printed with its seed and its steps, as few as are needed.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as Schema from 'effect/Schema';
import { randomFrom } from '../random.js';
import type { SoakOptions } from './options.js';
import { BIRTHS, randomSteps } from './random-steps.js';
import { RunSettings, runSteps, type Failure, type RunResult } from './run.js';
import { shrink } from './shrink.js';
import { Step, stepText } from './steps.js';

const MINUTE_MS = 60_000;
/** One run in so many has too little room in the maps, and one in so many captures by rewrite. */
const TIGHT_EVERY = 5;
const REWRITE_EVERY = 4;

/** A run as it is kept and played again. */
export const KeptRun = Schema.Struct({ seed: Schema.Int, settings: RunSettings, steps: Schema.Array(Step) });
export type KeptRun = typeof KeptRun.Type;

/** What the seed decides. Pure. */
export function runOf(seed: number, { steps: count, without }: Pick<SoakOptions, 'steps' | 'without'>): KeptRun {
  const random = randomFrom(seed);
  const settings: RunSettings = {
    capture: random() < 1 / REWRITE_EVERY ? 'rewrite' : 'route',
    hasRoom: random() >= 1 / TIGHT_EVERY,
    judgesBirths: !without.has(BIRTHS),
  };
  return { seed, settings, steps: randomSteps({ random, count, without }) };
}

/** Whether nothing went wrong. */
export async function benchSoak(options: SoakOptions): Promise<boolean> {
  const end = performance.now() + options.minutes * MINUTE_MS;
  const say = (line: string): void => void process.stdout.write(`${line}\n`);
  let isRight = true;
  for (let n = 0; n === 0 || (performance.now() < end && options.replay === undefined); n++) {
    const run = options.replay === undefined ? runOf(options.seed + n, options) : readRun(options.replay);
    const { settings, steps } = run;
    const result = await runSteps(steps, settings, options.patienceMs);
    say(runLine(run, result));
    if (result.failure === undefined) continue;
    isRight = false;
    say(failureText(result.failure));
    const shortest = await shortened(run, result.failure, options, say);
    if (options.out !== undefined) {
      mkdirSync(options.out, { recursive: true });
      const kept = { ...run, steps: shortest.steps, failure: shortest.failure, all: steps };
      writeFileSync(join(options.out, `failure-${run.seed}.json`), `${JSON.stringify(kept, undefined, 2)}\n`);
    }
    if (!options.keepsGoing) return false;
  }
  return isRight;
}

async function shortened(
  { settings, steps }: KeptRun,
  first: Failure,
  options: SoakOptions,
  say: (line: string) => void,
): Promise<{ steps: readonly Step[]; failure: Failure }> {
  const end = performance.now() + options.shrinkMinutes * MINUTE_MS;
  let failure = first;
  const upTo = steps.slice(0, first.at + 1);
  const shortest = await shrink(upTo, async (some) => {
    if (performance.now() >= end) return undefined;
    const result = await runSteps(some, settings, options.patienceMs);
    if (result.failure === undefined) return false;
    failure = result.failure;
    return true;
  });
  say(`the shortest list of steps that was seen to fail has ${shortest.length}:`);
  for (const step of shortest) say(`  ${stepText(step)}`);
  if (failure !== first) say(failureText(failure));
  return { steps: shortest, failure };
}

function runLine({ seed, settings, steps }: KeptRun, { taken, counts, failure }: RunResult): string {
  const { mesh, direct, nobody, failed } = counts;
  return (
    `seed ${seed}, capture by ${settings.capture}${settings.hasRoom ? '' : ', too little room'}: ` +
    `${taken} of ${steps.length} steps taken; dials ${mesh} in the mesh, ${direct} direct, ${nobody} refused, ${failed} failed` +
    (failure === undefined ? '' : `; FAILED at step ${failure.at + 1}, ${failure.step}`)
  );
}

function failureText({ message, states, log }: Failure): string {
  return [message, ...states.map((state) => `  state: ${state}`), ...log.map((line) => `  log: ${line}`)].join('\n');
}

function readRun(path: string): KeptRun {
  return Schema.decodeUnknownSync(Schema.fromJsonString(KeptRun))(readFileSync(path, 'utf8'));
}
