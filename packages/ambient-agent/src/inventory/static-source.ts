// The inventory from a watched directory of manifests: inotify says when to look, and a timer looks anyway.
import { statSync, watch, type FSWatcher } from 'node:fs';
import { errorCode } from '@sluice/linux';
import * as Cause from 'effect/Cause';
import * as Effect from 'effect/Effect';
import * as Layer from 'effect/Layer';
import * as Queue from 'effect/Queue';
import * as Stream from 'effect/Stream';
import { messageOf } from '../failure/message-of.js';
import { StartupError } from '../failure/startup-error.js';
import { metrics } from '../observe/metrics.js';
import { DirectoryError, ManifestDirectory } from './directory.js';
import { ManifestMemory, manifestsFile } from './memory.js';
import { InventorySource, type InventorySnapshot } from './source.js';

export interface StaticSourceOptions {
  readonly directory: string;
  /** Where to keep what the manifests last held for the next start; if left out, it is not kept. */
  readonly runDir?: string;
  /** How often to look without inotify (network file systems do not report changes). Default: 10 s */
  readonly rescanMs?: number;
}

// One change makes several events, and a file that is written in place needs some time to become complete.
const SETTLE_MS = 20;
const RESCAN_MS = 10_000;
// A directory that does not exist cannot be watched.
const MISSING_RESCAN_MS = 1000;

/** Watches the directory that has the name now, because inotify follows the directory and not the name. */
class DirectoryWatch {
  readonly #path: string;
  readonly #onTouch: () => void;
  #watcher: FSWatcher | undefined;
  #watched: string | undefined;
  #refusal: string | undefined;

  constructor(path: string, onTouch: () => void) {
    this.#path = path;
    this.#onTouch = onTouch;
  }

  /** Never fails: without inotify, the timer looks. */
  readonly follow: Effect.Effect<void> = Effect.suspend(() => {
    try {
      const { dev, ino } = statSync(this.#path, { bigint: true });
      const identity = `${dev}:${ino}`;
      if (this.#watcher !== undefined && identity === this.#watched) return Effect.void;
      this.close();
      this.#watcher = watch(this.#path, { persistent: false }, this.#onTouch);
      this.#watched = identity;
      this.#refusal = undefined;
      this.#watcher.on('error', () => {
        this.close();
        this.#onTouch();
      });
      return Effect.void;
    } catch (error) {
      this.close();
      const code = errorCode(error);
      if (code === 'ENOENT' || code === this.#refusal) return Effect.void;
      this.#refusal = code;
      const remedy = 'a timer looks at it instead; raise fs.inotify.max_user_watches and max_user_instances';
      return Effect.logWarning(
        `the inventory directory ${this.#path} cannot be watched: ${messageOf(error)}; ${remedy}`,
      );
    }
  });

  /** Idempotent. */
  close(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
    this.#watched = undefined;
  }
}

/** Fails with StartupError if the directory does not exist at the start. Later that is a problem, and what is known stays. */
export const staticSource = (options: StaticSourceOptions): Layer.Layer<InventorySource, StartupError> =>
  Layer.effect(
    InventorySource,
    Effect.gen(function* () {
      const kept = options.runDir === undefined ? undefined : manifestsFile(options.runDir);
      const memory = kept === undefined ? undefined : new ManifestMemory(kept, yield* kept.recall);
      const directory = new ManifestDirectory(options.directory, memory);
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
        yield* Queue.offer(changed, undefined);
      });

      yield* scan;
      if (missing !== undefined) return yield* new StartupError({ check: 'inventory', message: missing });

      const watching = new DirectoryWatch(options.directory, () => Queue.offerUnsafe(touched, undefined));
      yield* Effect.acquireRelease(watching.follow, () => Effect.sync(() => watching.close()));
      const rescanMs = options.rescanMs ?? RESCAN_MS;
      const nextTouch = Effect.suspend(() =>
        Effect.raceFirst(
          Queue.take(touched),
          Effect.sleep(missing === undefined ? rescanMs : Math.min(rescanMs, MISSING_RESCAN_MS)),
        ),
      );
      // Even if a file breaks the parser, the next look reads the others again.
      const guarded = Effect.catchCause(scan, (cause) =>
        Cause.hasInterruptsOnly(cause)
          ? Effect.failCause(cause)
          : Effect.logError(`the inventory could not be read: ${messageOf(Cause.squash(cause))}`),
      );
      yield* nextTouch.pipe(
        Effect.andThen(Effect.sleep(SETTLE_MS)),
        // The watch comes before the look, so that no change between the two is missed.
        Effect.andThen(watching.follow),
        Effect.andThen(guarded),
        Effect.forever,
        Effect.forkScoped,
      );
      return InventorySource.of({
        current: Effect.sync(snapshot),
        changes: Stream.fromQueue(changed),
        copies: () => [],
      });
    }),
  );
