// What was changed in which pod's network namespace, kept across restarts so that the next agent, or `sluice cleanup`, can
// restore it.
import { join } from 'node:path';
import * as Schema from 'effect/Schema';
import { Decimal, KeptFile } from '../run-directory/kept-file.js';
import { StateMemory } from './netns-state.js';

/** A namespace that Sluice changed. */
export const ChangedNetns = Schema.Struct({
  cookie: Decimal,
  uid: Schema.String,
  /** The pod as cgroupfs names it. */
  podUid: Schema.String,
  /** Left out if nothing is known of what was there before. */
  before: Schema.optionalKey(StateMemory),
});
export type ChangedNetns = typeof ChangedNetns.Type;

const NetnsMemory = Schema.Struct({ version: Schema.Literal(1), netns: Schema.Array(ChangedNetns) });

export const netnsFile = (runDir: string): KeptFile<typeof NetnsMemory.Type> =>
  new KeptFile(join(runDir, 'netns.json'), Schema.fromJsonString(NetnsMemory));

/** Replaces everything that was kept before. Throws the file system's error. */
export function writeNetns(runDir: string, changed: ReadonlyMap<bigint, ChangedNetns>): void {
  netnsFile(runDir).replace({ version: 1, netns: [...changed.values()] });
}

export const byCookie = (netns: readonly ChangedNetns[]): Map<bigint, ChangedNetns> =>
  new Map(netns.map((entry) => [BigInt(entry.cookie), entry]));
