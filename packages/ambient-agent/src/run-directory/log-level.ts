// The least level that is logged, which may be changed while the agent runs: by a file in its run directory that
// `sluice log-level` writes. It lasts until the agent ends.
import { readFileSync, rmSync, watch } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import * as Effect from 'effect/Effect';
import type * as Scope from 'effect/Scope';
import { messageOf } from '../failure/message-of.js';
import { replaceFile } from './replace-file.js';
import type { LogThreshold } from '../observe/log.js';
import { isLogLevel, logLevels, type LogLevel } from '../config/log-levels.js';

export const logLevelPath = (runDir: string): string => join(runDir, 'log-level');

/** What somebody asked for; undefined: nothing, so that the configuration counts. @throws what the file system says */
export function readLogLevel(runDir: string): string | undefined {
  try {
    return readFileSync(logLevelPath(runDir), 'utf8').trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Undefined: as configured. @throws what the file system says */
export function askForLogLevel(runDir: string, level: LogLevel | undefined): void {
  if (level === undefined) rmSync(logLevelPath(runDir), { force: true });
  else replaceFile(logLevelPath(runDir), `${level}\n`);
}

/** Follows the file for as long as the scope lasts; what an earlier agent was asked is over. Call it with the lock held. */
export const followLogLevel = (runDir: string, threshold: LogThreshold): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function* () {
    const context = yield* Effect.context<never>();
    const say = (effect: Effect.Effect<void>): void => void Effect.runForkWith(context)(effect);
    const path = logLevelPath(runDir);
    const follow = (): void => {
      try {
        const asked = readLogLevel(runDir);
        if (asked !== undefined && !isLogLevel(asked)) {
          say(Effect.logWarning(`${path}: \`${asked}\` is no level; write one of ${logLevels.join(', ')}`));
          return;
        }
        const level = asked ?? threshold.configured;
        if (level === threshold.level) return;
        threshold.level = level;
        say(threshold.always(`the log level is ${level} now`));
      } catch (error) {
        say(Effect.logWarning(`${path} cannot be read: ${messageOf(error)}`));
      }
    };
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        rmSync(path, { force: true });
        const watcher = watch(dirname(path), { persistent: false }, (_event, name) => {
          if (name === basename(path)) follow();
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
