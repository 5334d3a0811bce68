// `sluice cleanup`: removes everything of Sluice from the node.
import * as Console from 'effect/Console';
import * as Effect from 'effect/Effect';
import { Command } from 'effect/cli';
import { loadAgent } from '../agent.js';
import { failureOf } from '../exit.js';
import { configOf, output, placeFlags, toggle } from './flags.js';

const flags = {
  ...placeFlags,
  output,
  force: toggle('force', 'Clean up even while an agent runs'),
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
    "Removes the annotations of this node's pods if the Kubernetes API can be reached, detaches the programs, removes the pins and " +
      "the agent's files, undoes the changes in pods' network namespaces, and prints what it removed. Established connections stay; " +
      'new ones go directly. It refuses to run while an agent runs, and may be repeated.',
  ),
  Command.withExamples([{ command: 'sluice cleanup', description: 'Clean up after the agent was stopped for good' }]),
);
