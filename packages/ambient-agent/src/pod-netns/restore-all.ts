// Gives back every pod's network namespace as it was, without an agent: by the pods that are in the cgroup tree now.
import type { CgroupResolver } from '@sluice/cgroup-resolver';
import { messageOf } from '../failure/message-of.js';
import { forEachChanged, type FoundNetns } from './find-changed.js';
import type { ChangedNetns } from './memory.js';
import { removeOriginalSource } from './original-source.js';

export interface RestoredNetns {
  /** Sentences: whose namespace, and what was taken from it. */
  readonly restored: readonly string[];
  readonly problems: readonly string[];
}

/**
 * Idempotent.
 * @param memory what an agent wrote down, by cookie
 */
export function restoreAllNetns(
  resolver: Pick<CgroupResolver, 'pods' | 'podNetns'>,
  memory: ReadonlyMap<bigint, ChangedNetns>,
  procPath: string,
): RestoredNetns {
  const restored: string[] = [];
  const problems: string[] = [];
  const restore = ({ netns, entry: { podUid, before } }: FoundNetns): void => {
    const changed = removeOriginalSource(netns, { procPath, memory: before });
    if (changed.length > 0) restored.push(`network namespace of pod ${podUid}: ${changed.join(', ')}`);
  };
  forEachChanged(resolver, memory, restore, (podUid, error) =>
    problems.push(`the network namespace of pod ${podUid} is not as it was: ${messageOf(error)}`),
  );
  return { restored, problems };
}
