// `sluice log-level`: shows or changes how much the running agent logs, without a restart.
import * as Console from 'effect/Console';
import * as Effect from 'effect/Effect';
import * as Option from 'effect/Option';
import { Argument, Command } from 'effect/cli';
import { loadAgent } from '../agent.js';
import { CommandFailure, ExitCode, failureOf } from '../exit.js';
import { configOf, output, placeFlags } from './flags.js';

/** Stands for the level of the configuration. */
const CONFIGURED = 'configured';

const level = Argument.Literals('level', ['debug', 'info', 'warn', 'error', CONFIGURED]).pipe(
  Argument.withDescription(
    'The lowest level that is logged from now on; `configured` stands for that of the configuration',
  ),
  Argument.optional,
);

export const logLevel = Command.make('log-level', { ...placeFlags, output, level }, (flags) =>
  Effect.gen(function* () {
    const { paths } = yield* configOf(flags);
    const { askForLogLevel, logLevelFile, readState } = yield* loadAgent;
    const state = readState(paths.runDir, paths.proc);
    if (state.kind !== 'state' || !state.isRunning) {
      const why = state.kind === 'unusable' ? ` (its state cannot be used: ${state.why})` : '';
      const message = `no agent runs with run directory ${paths.runDir}${why}; start one, or name its directory with --run-dir`;
      return yield* new CommandFailure({ exitCode: ExitCode.noAgent, message });
    }
    const asked = Option.getOrUndefined(flags.level);
    const now = yield* Effect.try({
      try: () => {
        if (asked !== undefined) askForLogLevel(paths.runDir, asked === CONFIGURED ? undefined : asked);
        const file = logLevelFile(paths.runDir);
        const reading = file.read();
        if (reading.kind === 'unusable') throw new Error(`${file.path}: ${reading.why}`);
        return reading.kind === 'kept' ? reading.value : CONFIGURED;
      },
      catch: failureOf,
    });
    yield* Console.log(flags.output === 'json' ? JSON.stringify({ logLevel: now }) : now);
  }),
).pipe(
  Command.withShortDescription('Show or change what the running agent logs'),
  Command.withDescription(
    'Changes the lowest level that the running agent logs, at once and until it ends. Without a level, shows the one that was last set.',
  ),
  Command.withExamples([
    { command: 'sluice log-level debug', description: 'Log everything' },
    { command: 'sluice log-level configured', description: 'Return to the level of the configuration' },
  ]),
);
