// `sluice version`: shows the version of this command.
import * as Console from 'effect/Console';
import { Command } from 'effect/cli';
import { CLI_VERSION } from '../version.js';
import { output } from './flags.js';

export const version = Command.make('version', { output }, (given) =>
  Console.log(
    given.output === 'json'
      ? JSON.stringify({ version: CLI_VERSION, node: process.version })
      : `sluice ${CLI_VERSION} (Node.js ${process.version})`,
  ),
).pipe(
  Command.withShortDescription('Show the version'),
  Command.withDescription('Shows the version of this command and of Node.js.'),
);
