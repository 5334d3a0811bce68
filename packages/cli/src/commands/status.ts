// `sluice status`: every workload of the node, in or out of the mesh, why, and since when.
import * as Console from 'effect/Console';
import * as Effect from 'effect/Effect';
import { Command } from 'effect/cli';
import { loadAgent } from '../agent.js';
import { CommandFailure, ExitCode, failureOf } from '../exit.js';
import { configOf, output, placeFlags } from './flags.js';

export const status = Command.make('status', { ...placeFlags, output }, (flags) =>
  Effect.gen(function* () {
    const config = yield* configOf(flags);
    const { readNodeStatus } = yield* loadAgent;
    const node = yield* Effect.try({
      try: () => readNodeStatus(config.paths.runDir, config.paths.proc),
      catch: (error) => new CommandFailure({ exitCode: ExitCode.noAgent, message: failureOf(error).message }),
    });
    if (flags.output === 'json') yield* Console.log(JSON.stringify(node));
    else {
      const { renderStatus } = yield* Effect.promise(() => import('../render/status.js'));
      yield* Console.log(renderStatus(node, new Date()));
    }
    if (node.agent !== 'running') return yield* new CommandFailure({ exitCode: ExitCode.noAgent, message: '' });
  }),
).pipe(
  Command.withShortDescription('Show every workload: in or out of the mesh, why, since when'),
  Command.withDescription(
    "Shows the agent's view of this node: warnings first, then ztunnel, then every pod with its addresses and cgroups, whether it is " +
      'in the mesh, why, and since when. It works without an agent too: it then says so, and exits with 3.',
  ),
  Command.withExamples([
    { command: 'sluice status', description: 'A table' },
    {
      command: 'sluice status -o json | jq \'.state.workloads[] | select(.state == "in") | .name\'',
      description: 'The pods in the mesh',
    },
  ]),
);
