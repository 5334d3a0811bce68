// The lowest level that is logged can be changed while the agent runs, by a file in its run directory that
// `sluice log-level` writes. The change lasts until the agent ends.
import { rmSync, watch } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import * as Effect from 'effect/Effect';
import * as Schema from 'effect/Schema';
import type * as Scope from 'effect/Scope';
import { logLevels, type LogLevel } from '../config/log-levels.js';
import type { LogThreshold } from '../observe/log.js';
import { KeptFile } from './kept-file.js';

/** If the file does not exist, the level of the configuration counts. */
export const logLevelFile = (runDir: string): KeptFile<LogLevel> =>
  new KeptFile(join(runDir, 'log-level'), Schema.Literals(logLevels));

/** @param level undefined stands for that of the configuration. @throws the file system's error */
export function askForLogLevel(runDir: string, level: LogLevel | undefined): void {
  const file = logLevelFile(runDir);
  if (level === undefined) rmSync(file.path, { force: true });
  else file.replace(level);
}

/** Follows the file while the scope lasts, and forgets what an earlier agent was asked. Call it with the lock held. */
export const followLogLevel = (runDir: string, threshold: LogThreshold): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function* () {
    const context = yield* Effect.context();
    const file = logLevelFile(runDir);
    const follow = Effect.gen(function* () {
      const level = (yield* file.recall) ?? threshold.configured;
      if (level === threshold.level) return;
      threshold.level = level;
      yield* threshold.always(`the log level is now ${level}`);
    });
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        rmSync(file.path, { force: true });
        const watcher = watch(dirname(file.path), { persistent: false }, (_event, name) => {
          if (name === basename(file.path)) Effect.runForkWith(context)(follow);
        });
        watcher.on('error', () => watcher.close());
        return watcher;
      }),
      (watcher) => Effect.sync(() => watcher.close()),
    ).pipe(
      Effect.catchCause(() =>
        Effect.logWarning(`${runDir} cannot be watched, so the log level cannot be changed while this agent runs`),
      ),
    );
  });
