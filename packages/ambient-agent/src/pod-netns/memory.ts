// What was changed in which pod's network namespace, kept across restarts: the next agent, or `sluice cleanup`, gives back
// what was there before.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as Schema from 'effect/Schema';
import { replaceFile } from '../run-directory/replace-file.js';

/** Raised when the kept form would be misread. */
const MEMORY_VERSION = 1;

const Entry = Schema.Struct({
  /** Decimal text. */
  cookie: Schema.String.check(Schema.isPattern(/^\d+$/)),
  uid: Schema.String,
  /** The pod as cgroupfs names it. */
  podUid: Schema.String,
  /** Of original-source.ts; undefined: nothing is known of what was there before. */
  before: Schema.optionalKey(Schema.Unknown),
});
const isKept = Schema.is(Schema.Struct({ version: Schema.Literal(MEMORY_VERSION), netns: Schema.Array(Entry) }));

/** A namespace in which something of ours is. */
export type ChangedNetns = typeof Entry.Type;

export const netnsMemoryPath = (runDir: string): string => join(runDir, 'netns.json');

/** Empty when there is no such file, or it is not what an agent writes. */
export function readNetnsMemory(runDir: string): Map<bigint, ChangedNetns> {
  try {
    const kept: unknown = JSON.parse(readFileSync(netnsMemoryPath(runDir), 'utf8'));
    return new Map(isKept(kept) ? kept.netns.map((entry) => [BigInt(entry.cookie), entry]) : []);
  } catch {
    return new Map();
  }
}

/** In the place of everything kept before. Throws what the file system says. */
export function writeNetnsMemory(runDir: string, entries: Iterable<ChangedNetns>): void {
  replaceFile(netnsMemoryPath(runDir), `${JSON.stringify({ version: MEMORY_VERSION, netns: [...entries] })}\n`);
}
