// `sluice cleanup`: takes everything of Sluice off the node.
import * as Console from 'effect/Console';
import * as Effect from 'effect/Effect';
import { Command, Flag } from 'effect/cli';
import { loadAgent } from '../agent.js';
import { failureOf } from '../exit.js';
import { configOf, output, placeFlags } from './flags.js';

const flags = {
  ...placeFlags,
  output,
  force: Flag.Boolean('force').pipe(Flag.withDescription('Also while an agent runs'), Flag.withDefault(false)),
};

export const cleanup = Command.make('cleanup', flags, (given) =>
  Effect.gen(function* () {
    const config = yield* configOf(given);
    const { cleanupNode, withdrawAnnouncements } = yield* loadAgent;
    const options = { force: given.force, withdraw: withdrawAnnouncements(config) };
    const report = yield* Effect.mapError(cleanupNode(config.paths, options), failureOf);
    if (given.output === 'json') return yield* Console.log(JSON.stringify(report));
    const { renderCleanup } = yield* Effect.promise(() => import('../render/cleanup.js'));
    yield* Console.log(renderCleanup(report));
  }),
).pipe(
  Command.withShortDescription('Remove everything of Sluice from this node'),
  Command.withDescription(
    "Takes back what was announced of this node's pods where the Kubernetes API can be reached, detaches the programs, removes the pins and " +
      "the agent's files, and says what it removed. Connections that are made already stay; new ones go directly. " +
      'It refuses while an agent runs, and may be run any number of times.',
  ),
  Command.withExamples([{ command: 'sluice cleanup', description: 'After the agent was stopped for good' }]),
);
