// How the command ends: the exit codes, and the one error that carries one.
import * as Schema from 'effect/Schema';

export const ExitCode = {
  ok: 0,
  /** It did not work; the message says why. */
  failure: 1,
  /** The command line or the configuration cannot be understood. */
  usage: 2,
  /** What was asked for is there, but no agent keeps it up to date. */
  noAgent: 3,
  /** `status --verify`: the kernel has something else than the agent says. */
  different: 3,
} as const;

/** Printed as `sluice: MESSAGE`; nothing is printed for an empty message. */
export class CommandFailure extends Schema.TaggedError<CommandFailure>()('CommandFailure', {
  exitCode: Schema.Int,
  message: Schema.String,
}) {}

/** Anything that was thrown, as a failure with exit code 1; configuration errors with 2. */
export function failureOf(error: unknown): CommandFailure {
  if (error instanceof CommandFailure) return error;
  const isConfig = typeof error === 'object' && error !== null && '_tag' in error && error._tag === 'ConfigError';
  const message = error instanceof Error ? error.message : String(error);
  return new CommandFailure({ exitCode: isConfig ? ExitCode.usage : ExitCode.failure, message });
}
