// `sluice run`: runs the agent in the foreground, until SIGTERM or SIGINT.
import * as Effect from 'effect/Effect';
import { Command } from 'effect/cli';
import { loadAgent } from '../agent.js';
import { failureOf } from '../exit.js';
import { outputIsLog } from '../output.js';
import { configOf, runFlags } from './flags.js';

export const run = Command.make('run', runFlags, (flags) =>
  Effect.gen(function* () {
    const config = yield* configOf(flags);
    const { runAgent } = yield* loadAgent;
    outputIsLog();
    return yield* Effect.mapError(runAgent(config), failureOf);
  }),
).pipe(
  Command.withShortDescription('Run the agent'),
  Command.withDescription(
    'Runs the agent in the foreground. It keeps the datapath as the inventory wants it, logs to standard output, and logs a line ' +
      '"ready" when everything known is enrolled. SIGTERM ends it with exit code 0 and leaves the datapath in force; `sluice cleanup` ' +
      'removes the datapath. Settings on the command line override those of the file.',
  ),
  Command.withExamples([
    { command: 'sluice run --config /etc/sluice/config.yaml', description: 'Run it as a service does' },
    {
      command: 'sluice run --inventory ./manifests --node-name node-1 --log-format pretty',
      description: 'Run it by hand, without a configuration file',
    },
  ]),
);
