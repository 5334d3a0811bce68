#!/usr/bin/env node
// The process: runs the command, turns signals into interruption and the outcome into an exit code.
import * as Cause from 'effect/Cause';
import * as Effect from 'effect/Effect';
import * as Exit from 'effect/Exit';
import * as Fiber from 'effect/Fiber';
import { runCommandLine } from './command-line.js';
import { CommandFailure, ExitCode } from './exit.js';
import { watchOutput, whenWritten } from './output.js';

function exitCodeOf(exit: Exit.Exit<void, unknown>): number {
  // `run` and `watch` end only by an interruption.
  if (Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause)) return ExitCode.ok;
  const error = Cause.squash(exit.cause);
  if (error instanceof CommandFailure) {
    if (error.message !== '') console.error(`sluice: ${error.message}`);
    return error.exitCode;
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

const fiber = Effect.runFork(runCommandLine(process.argv.slice(2)));
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
