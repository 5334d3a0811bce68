// Runs a command line, so that help is printed for those who ask for it, and a mistake is one line.
import * as Console from 'effect/Console';
import * as Effect from 'effect/Effect';
import { CliConfig, CliError, Command, GlobalFlag } from 'effect/cli';
import { CommandFailure, ExitCode } from './exit.js';
import { platform } from './platform.js';
import { sluice } from './sluice.js';
import { usageMessage } from './usage.js';
import { CLI_VERSION } from './version.js';

const builtIns = [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions] as const;
const commands = sluice.subcommands.flatMap((group) => group.commands.map(({ name }) => name));

// What commands print goes to the real console; what is printed besides is the help.
const program = Command.runWith(Command.provideSync(sluice, Console.Console, console), {
  version: CLI_VERSION,
  renderErrors: false,
});

export const runCommandLine = (args: readonly string[]) =>
  Effect.suspend(() => {
    // effect/cli prints the help before it fails with a mistake, too.
    const help: unknown[] = [];
    const print = Effect.sync(() => {
      for (const text of help) console.log(text);
    });
    return program(args).pipe(
      Effect.provideService(Console.Console, { ...console, log: (text) => void help.push(text) }),
      Effect.catchIf(CliError.isCliError, (error) => {
        // The flags for help and versions fail on their own.
        const shown = error._tag === 'ShowHelp' ? error : { errors: [error], commandPath: [sluice.name] };
        if (shown.errors.length === 0) return Effect.void;
        return Effect.fail(new CommandFailure({ exitCode: ExitCode.usage, message: usageMessage(shown, commands) }));
      }),
      Effect.andThen(print),
      Effect.provide([platform, CliConfig.layer({ builtIns })]),
    );
  });
