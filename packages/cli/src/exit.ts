// How the command ends: the exit codes, and the error that carries one.
import * as Schema from 'effect/Schema';

export const ExitCode = {
  ok: 0,
  /** The command failed; the message says why. */
  failure: 1,
  /** The command line or the configuration cannot be understood. */
  usage: 2,
  /** The result was printed, but no agent keeps it up to date. */
  noAgent: 3,
  /** `status --verify`: the kernel differs from what the agent says. */
  different: 3,
} as const;

/** Printed as `sluice: MESSAGE`; nothing is printed for an empty message. */
export class CommandFailure extends Schema.TaggedError<CommandFailure>()('CommandFailure', {
  exitCode: Schema.Int,
  message: Schema.String,
}) {}

/** Turns anything that was thrown into a failure with exit code 1, or 2 for a configuration error. */
export function failureOf(error: unknown): CommandFailure {
  if (error instanceof CommandFailure) return error;
  const isConfig = typeof error === 'object' && error !== null && '_tag' in error && error._tag === 'ConfigError';
  const message = error instanceof Error ? error.message : String(error);
  return new CommandFailure({ exitCode: isConfig ? ExitCode.usage : ExitCode.failure, message });
}
