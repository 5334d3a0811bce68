// The watched directory: what happens to the directory itself, and that the source catches up with it.
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as Effect from 'effect/Effect';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { InventorySource, staticSource } from '../src/index.js';

let parent: string;
beforeEach(() => void (parent = mkdtempSync(join(tmpdir(), 'sluice-source-'))));
afterEach(() => rmSync(parent, { recursive: true, force: true }));

const AN_HOUR_MS = 3_600_000;
const put = (directory: string, name: string): void =>
  writeFileSync(join(directory, `${name}.json`), JSON.stringify({ kind: 'Namespace', metadata: { name } }));

/** Looks at the source until it holds exactly these namespaces. */
const holds = (source: InventorySource['Service'], ...names: string[]): Effect.Effect<void> =>
  Effect.flatMap(source.current, ({ inventory }) =>
    [...inventory.namespaces.keys()].sort().join() === names.join()
      ? Effect.void
      : Effect.andThen(Effect.sleep(5), holds(source, ...names)),
  );

describe('a watched directory', () => {
  it('is still watched after another took its place, and after it was removed and made again', async () => {
    const directory = join(parent, 'inventory');
    mkdirSync(directory);
    put(directory, 'first');
    const program = Effect.gen(function* () {
      const source = yield* InventorySource;
      yield* holds(source, 'first');

      mkdirSync(join(parent, 'next'));
      put(join(parent, 'next'), 'second');
      renameSync(directory, join(parent, 'former'));
      renameSync(join(parent, 'next'), directory);
      yield* holds(source, 'second');
      put(directory, 'third');
      yield* holds(source, 'second', 'third');

      rmSync(directory, { recursive: true });
      const missing = Effect.flatMap(source.current, ({ problems }): Effect.Effect<void> =>
        problems.length > 0 ? Effect.void : Effect.andThen(Effect.sleep(5), missing),
      );
      yield* missing;
      // What was known stays while there is nothing to read.
      yield* holds(source, 'second', 'third');
      mkdirSync(directory);
      put(directory, 'fourth');
      yield* holds(source, 'fourth');
      put(directory, 'sixth');
      yield* holds(source, 'fourth', 'sixth');
      return yield* source.current;
    });
    const layer = staticSource({ directory, rescanMs: AN_HOUR_MS });
    const { problems } = await Effect.runPromise(program.pipe(Effect.provide(layer), Effect.scoped));
    expect(problems).toEqual([]);
  });
});
