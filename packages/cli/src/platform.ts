// The services that effect/cli needs of its platform, with only what this command uses: it prints, and never prompts.
import * as Effect from 'effect/Effect';
import * as FileSystem from 'effect/FileSystem';
import * as Layer from 'effect/Layer';
import * as Path from 'effect/Path';
import { ChildProcessSpawner } from 'effect/process/ChildProcessSpawner';
import * as Spawner from 'effect/process/ChildProcessSpawner';
import * as Sink from 'effect/Sink';
import * as Stdio from 'effect/Stdio';
import * as Stream from 'effect/Stream';
import * as Terminal from 'effect/Terminal';

const unused = Effect.die(new Error('sluice asks nothing interactively'));
const DEFAULT_COLUMNS = 80;
const DEFAULT_ROWS = 24;

const write = (stream: NodeJS.WriteStream): (() => Sink.Sink<void, string | Uint8Array>) => {
  return () => Sink.forEach((chunk: string | Uint8Array) => Effect.sync(() => void stream.write(chunk)));
};

/** The services of {@link Command.Environment}. */
export const platform = Layer.mergeAll(
  FileSystem.layerNoop({}),
  Path.layer,
  Layer.succeed(
    Stdio.Stdio,
    Stdio.make({
      args: Effect.sync(() => process.argv.slice(2)),
      stdout: write(process.stdout),
      stderr: write(process.stderr),
      stdin: Stream.empty,
      stdoutIsTerminal: Effect.sync(() => process.stdout.isTTY),
      stderrIsTerminal: Effect.sync(() => process.stderr.isTTY),
    }),
  ),
  Layer.succeed(
    Terminal.Terminal,
    Terminal.make({
      columns: Effect.sync(() => process.stdout.columns ?? DEFAULT_COLUMNS),
      rows: Effect.sync(() => process.stdout.rows ?? DEFAULT_ROWS),
      readInput: unused,
      readLine: unused,
      display: (text) => Effect.sync(() => void process.stdout.write(text)),
    }),
  ),
  Layer.succeed(
    ChildProcessSpawner,
    Spawner.make(() => unused),
  ),
);
