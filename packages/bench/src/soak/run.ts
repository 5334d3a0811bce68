// One run of a soak: a new node, the steps one after the other, and what went wrong.
import { readNodeStatus } from '@sluice/ambient-agent';
import * as Schema from 'effect/Schema';
import { Model } from './model.js';
import { settle } from './settle.js';
import { NAMESPACES, stepText, type Step } from './steps.js';
import { Violation } from './violation.js';
import { World, type Counts } from './world.js';

/** How the node of a run is configured. */
export const RunSettings = Schema.Struct({
  capture: Schema.Literals(['route', 'rewrite']),
  /** Whether every pod finds room in the maps. */
  hasRoom: Schema.Boolean,
  /** Whether anything is forbidden to a pod, or a new sandbox, before it has settled for the first time. */
  judgesBirths: Schema.Boolean,
});
export type RunSettings = typeof RunSettings.Type;

export interface Failure {
  /** The number of the step, from 0. */
  readonly at: number;
  readonly step: string;
  readonly message: string;
  /** Of each pod, what the agent says. */
  readonly states: readonly string[];
  /** The last warnings and errors of the agent's log. */
  readonly log: readonly string[];
}

export interface RunResult {
  /** How many steps made sense. */
  readonly taken: number;
  readonly counts: Counts;
  readonly failure: Failure | undefined;
}

const KEPT_LOG_LINES = 20;
/** Room for fewer pods than there can be, and for the witnesses, ztunnel and the kubelet. */
const TIGHT = { cgroups: 24, netns: 8, localPods: 12, ownAddresses: 20 };

/** Rejects only if the node cannot be made at all. */
export async function runSteps(
  steps: readonly Step[],
  { capture, ...settings }: RunSettings,
  patienceMs: number,
): Promise<RunResult> {
  const model = new Model(NAMESPACES, settings);
  const { hasRoom } = settings;
  await using world = await World.create(model, { capture, ...(hasRoom ? {} : { capacities: TIGHT }) });
  let taken = 0;
  for (const [at, step] of steps.entries()) {
    try {
      if (step.do === 'settle') await settle(world, { patienceMs, hasRoom });
      else if (await world.take(step)) taken += 1;
    } catch (error) {
      const message = error instanceof Violation ? error.message : `unexpected: ${stackOf(error)}`;
      return { taken, counts: world.counts, failure: { at, step: stepText(step), message, ...view(world) } };
    }
  }
  return { taken, counts: world.counts, failure: undefined };
}

function view(world: World): Pick<Failure, 'states' | 'log'> {
  const history = world.agent.isStarted ? world.agent.process.history : [];
  const log = history.filter((line) => /"level":"(warn|error|fatal)"/.test(line)).slice(-KEPT_LOG_LINES);
  try {
    const { workloads } = readNodeStatus(world.place.runDir).state;
    return { states: workloads.map(({ name, uid, state, reason }) => `${name} ${uid}: ${state}, ${reason}`), log };
  } catch (error) {
    return { states: [`no status: ${String(error)}`], log };
  }
}

function stackOf(error: unknown): string {
  return (error instanceof Error ? error.stack : undefined) ?? String(error);
}
