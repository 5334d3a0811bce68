// The inventory of a directory of manifests, watched: inotify says when to look, a timer looks anyway.
import { watch } from 'node:fs';
import * as Effect from 'effect/Effect';
import * as Layer from 'effect/Layer';
import * as Queue from 'effect/Queue';
import * as Stream from 'effect/Stream';
import { StartupError } from '../node/startup-error.js';
import { metrics } from '../observe/metrics.js';
import { DirectoryError, ManifestDirectory } from './directory.js';
import { ManifestMemory } from './memory.js';
import { InventorySource, type InventorySnapshot } from './source.js';

export interface StaticSourceOptions {
  readonly directory: string;
  /** Where what the manifests last held is kept for the next start; nowhere if left out. */
  readonly runDir?: string;
  /** How often to look when inotify says nothing (network file systems say nothing). Default: 10 s */
  readonly rescanMs?: number;
}

// Several events come for one change; a file written in place is given this long to become whole.
const SETTLE_MS = 20;
const RESCAN_MS = 10_000;

/** Ends with StartupError when the directory is not there at the start; later that is a problem, and what is known stays. */
export const staticSource = (options: StaticSourceOptions): Layer.Layer<InventorySource, StartupError> =>
  Layer.effect(
    InventorySource,
    Effect.gen(function* () {
      const directory = new ManifestDirectory(
        options.directory,
        options.runDir === undefined ? undefined : new ManifestMemory(options.runDir),
      );
      let missing: string | undefined;
      const changed = yield* Queue.sliding<void>(1);
      const touched = yield* Queue.sliding<void>(1);

      const snapshot = (): InventorySnapshot => {
        const { inventory, problems } = directory.snapshot;
        return { inventory, problems: missing === undefined ? problems : [missing, ...problems] };
      };

      const scan = Effect.gen(function* () {
        const before = missing;
        let isChanged = false;
        try {
          isChanged = directory.scan();
          missing = undefined;
        } catch (error) {
          if (!(error instanceof DirectoryError)) throw error;
          missing = error.message;
        }
        if (!isChanged && missing === before) return;
        yield* metrics.manifestProblems(snapshot().problems.length);
        for (const problem of snapshot().problems) yield* Effect.logWarning(problem);
        yield* Queue.offer(changed, undefined);
      });

      yield* scan;
      if (missing !== undefined) return yield* new StartupError({ check: 'inventory', message: missing });

      yield* Effect.acquireRelease(
        Effect.sync(() => {
          const watcher = watch(options.directory, { persistent: false }, () => Queue.offerUnsafe(touched, undefined));
          // The directory itself went away: the timer sees that.
          watcher.on('error', () => Queue.offerUnsafe(touched, undefined));
          return watcher;
        }),
        (watcher) => Effect.sync(() => watcher.close()),
      );
      const nextTouch = Effect.raceFirst(Queue.take(touched), Effect.sleep(options.rescanMs ?? RESCAN_MS));
      yield* nextTouch.pipe(
        Effect.andThen(Effect.sleep(SETTLE_MS)),
        Effect.andThen(scan),
        Effect.forever,
        Effect.forkScoped,
      );
      return InventorySource.of({
        current: Effect.sync(snapshot),
        changes: Stream.fromQueue(changed),
      });
    }),
  );
