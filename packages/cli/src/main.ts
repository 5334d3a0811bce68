#!/usr/bin/env node
// The process: runs the command, turns signals into interruption and the outcome into an exit code.
import * as Cause from 'effect/Cause';
import * as Effect from 'effect/Effect';
import * as Exit from 'effect/Exit';
import * as Fiber from 'effect/Fiber';
import { CliConfig, Command, GlobalFlag } from 'effect/cli';
import { CommandFailure, ExitCode } from './exit.js';
import { watchOutput, whenWritten } from './output.js';
import { platform } from './platform.js';
import { sluice } from './sluice.js';
import { CLI_VERSION } from './version.js';

function exitCodeOf(exit: Exit.Exit<void, unknown>): number {
  // `run` and `watch` end only by an interruption.
  if (Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause)) return ExitCode.ok;
  const error = Cause.squash(exit.cause);
  if (error instanceof CommandFailure) {
    if (error.message !== '') console.error(`sluice: ${error.message}`);
    return error.exitCode;
  }
  // effect/cli has printed it already.
  if (typeof error === 'object' && error !== null && '_tag' in error && error._tag === 'ShowHelp') {
    return 'errors' in error && Array.isArray(error.errors) && error.errors.length > 0 ? ExitCode.usage : ExitCode.ok;
  }
  console.error(`sluice: this should not happen: ${Cause.pretty(exit.cause)}`);
  return ExitCode.failure;
}

// `sluice watch | head` ends when its reader is gone.
watchOutput((cause) => {
  if (cause === undefined) process.exit(ExitCode.ok);
  console.error(`sluice: the output cannot be written: ${cause}`);
  process.exit(ExitCode.failure);
});

const builtIns = [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions] as const;
const program = Command.runWith(sluice, { version: CLI_VERSION })(process.argv.slice(2)).pipe(
  Effect.provide([platform, CliConfig.layer({ builtIns })]),
);
const fiber = Effect.runFork(program);
let isSignalled = false;
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
  process.on(signal, () => {
    isSignalled = true;
    if (hasEnded) process.exit();
    void Effect.runFork(Fiber.interrupt(fiber));
  });
}
let hasEnded = false;
fiber.addObserver((exit) => {
  hasEnded = true;
  process.exitCode = exitCodeOf(exit);
  // A reader that reads nothing must not keep a command alive that was told to end.
  if (isSignalled) process.exit();
  whenWritten(() => process.exit());
});
