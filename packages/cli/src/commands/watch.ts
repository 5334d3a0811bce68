// `sluice watch`: shows process events, resolved to pods, and decisions when they happen.
import * as Console from 'effect/Console';
import * as Effect from 'effect/Effect';
import * as Option from 'effect/Option';
import * as Stream from 'effect/Stream';
import { Command } from 'effect/cli';
import { loadAgent } from '../agent.js';
import { failureOf } from '../exit.js';
import { configOf, output, placeFlags, runFlags, toggle } from './flags.js';

const flags = {
  ...placeFlags,
  cgroupRoot: runFlags.cgroupRoot,
  hostNetns: runFlags.hostNetns,
  output,
  decisions: toggle(
    'decisions',
    'Also print the decisions that the datapath reports (one in `sampling`, a setting of the agent)',
  ),
  all: toggle('all', 'Also print processes that are in no pod', 'a'),
};

export const watch = Command.make('watch', flags, (given) =>
  Effect.gen(function* () {
    const config = yield* configOf(given);
    const { pinDirectory, readState, watchNode } = yield* loadAgent;
    const { renderRecord } = yield* Effect.promise(() => import('../render/watch.js'));
    const { runDir, proc, cgroupRoot, hostNetns, bpffs } = config.paths;
    const reading = readState(runDir, proc);
    const known = reading.kind === 'state' ? reading.state.node : undefined;
    if (given.decisions && known?.sampling === 0) {
      yield* Console.error(
        'sluice: the agent reports no decisions; set `sampling: 1` in its configuration to see all of them',
      );
    }
    const records = watchNode({
      runDir,
      procPath: proc,
      cgroupRoot: Option.getOrUndefined(given.cgroupRoot) ?? cgroupRoot ?? known?.cgroupRoot,
      hostNetns: Option.getOrUndefined(given.hostNetns) ?? hostNetns ?? known?.hostNetns,
      pinDirectory: known?.pinDirectory ?? pinDirectory(bpffs),
      includeHost: given.all,
      decisions: given.decisions,
    });
    const print = given.output === 'json' ? (record: unknown): string => JSON.stringify(record) : renderRecord;
    yield* Stream.runForEach(records, (record) => Console.log(print(record))).pipe(Effect.mapError(failureOf));
  }),
).pipe(
  Command.withShortDescription('Show what starts and ends in pods, when it happens'),
  Command.withDescription(
    'Prints a line for each program that starts or ends in a pod of this node and, with --decisions, for each connection that the ' +
      'datapath decided about. Lost events have a line in their place. Runs until it is interrupted; the agent need not run.',
  ),
  Command.withExamples([
    { command: 'sluice watch', description: 'Show processes of pods' },
    { command: 'sluice watch --decisions -o json', description: 'Show decisions too, one JSON object per line' },
  ]),
);
