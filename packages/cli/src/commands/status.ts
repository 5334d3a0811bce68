// `sluice status`: the state of every workload of the node, why, and since when; and whether the kernel agrees.
import type { NodeStatus, Verification } from '@sluice/ambient-agent';
import * as Console from 'effect/Console';
import * as Effect from 'effect/Effect';
import { Command } from 'effect/cli';
import { loadAgent } from '../agent.js';
import { CommandFailure, ExitCode, failureOf } from '../exit.js';
import { configOf, output, placeFlags, toggle } from './flags.js';

const flags = {
  ...placeFlags,
  output,
  verify: toggle(
    'verify',
    'Also compare what the agent says with the maps, links, rules and listeners in the kernel (as root)',
  ),
};

export const status = Command.make('status', flags, (given) =>
  Effect.gen(function* () {
    const { paths } = yield* configOf(given);
    const { readNodeStatus, verifyNode } = yield* loadAgent;
    const node: NodeStatus & { readonly verification?: Verification } = yield* given.verify
      ? Effect.mapError(verifyNode(paths), ({ kind, message }) => {
          return new CommandFailure({ exitCode: kind === 'no-state' ? ExitCode.noAgent : ExitCode.failure, message });
        })
      : Effect.try({
          try: () => readNodeStatus(paths.runDir, paths.proc),
          catch: (error) => new CommandFailure({ exitCode: ExitCode.noAgent, message: failureOf(error).message }),
        });
    const { verification } = node;
    if (given.output === 'json') yield* Console.log(JSON.stringify(node));
    else {
      const { renderStatus } = yield* Effect.promise(() => import('../render/status.js'));
      const { renderVerification } = yield* Effect.promise(() => import('../render/verification.js'));
      yield* Console.log(renderStatus(node, new Date()));
      if (verification !== undefined) yield* Console.log(`\n${renderVerification(verification)}`);
    }
    const { noAgent, different } = ExitCode;
    // With --verify the question is whether the kernel agrees, whether an agent runs or not.
    if (verification === undefined && node.agent !== 'running')
      return yield* new CommandFailure({ exitCode: noAgent, message: '' });
    if (verification !== undefined && verification.differences.length > 0)
      return yield* new CommandFailure({ exitCode: different, message: '' });
  }),
).pipe(
  Command.withShortDescription('Show every workload: in or out of the mesh, why, since when'),
  Command.withDescription(
    "Shows the agent's view of this node: warnings first, then ztunnel, then every pod with its addresses and cgroups, whether it is " +
      'in the mesh, why, and since when. Without a running agent it shows what the agent last knew, says so, and exits with 3. ' +
      'With --verify it also shows where the kernel differs, and what to do about it. It then exits with 0 if there is no ' +
      'difference, whether an agent runs or not; with 3 if there is one, or if no agent has left a state to compare with; with 1 if ' +
      'the kernel cannot be read.',
  ),
  Command.withExamples([
    { command: 'sluice status', description: 'Print a table' },
    { command: 'sluice status --verify', description: 'Print the table, and where the kernel differs from it' },
    {
      command: 'sluice status -o json | jq \'.state.workloads[] | select(.state == "in") | .name\'',
      description: 'Print the pods in the mesh',
    },
  ]),
);
