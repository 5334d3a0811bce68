// The least level that is logged, which may be changed while the agent runs: by a file in its run directory that
// `sluice log-level` writes. It lasts until the agent ends.
import { rmSync, watch } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import * as Effect from 'effect/Effect';
import * as Schema from 'effect/Schema';
import type * as Scope from 'effect/Scope';
import { logLevels, type LogLevel } from '../config/log-levels.js';
import type { LogThreshold } from '../observe/log.js';
import { KeptFile } from './kept-file.js';

/** Absent: what the configuration says counts. */
export const logLevelFile = (runDir: string): KeptFile<LogLevel> =>
  new KeptFile(join(runDir, 'log-level'), Schema.Literals(logLevels));

/** Undefined: as configured. @throws what the file system says */
export function askForLogLevel(runDir: string, level: LogLevel | undefined): void {
  const file = logLevelFile(runDir);
  if (level === undefined) rmSync(file.path, { force: true });
  else file.replace(level);
}

/** Follows the file for as long as the scope lasts; what an earlier agent was asked is over. Call it with the lock held. */
export const followLogLevel = (runDir: string, threshold: LogThreshold): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function* () {
    const context = yield* Effect.context();
    const file = logLevelFile(runDir);
    const follow = Effect.gen(function* () {
      const level = (yield* file.recall) ?? threshold.configured;
      if (level === threshold.level) return;
      threshold.level = level;
      yield* threshold.always(`the log level is ${level} now`);
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
        Effect.logWarning(`${runDir} cannot be watched: the log level cannot be changed while this runs`),
      ),
    );
  });
