// Restores every pod's network namespace without an agent, for the pods that are in the cgroup tree now.
import type { CgroupResolver } from '@sluice/cgroup-resolver';
import { messageOf } from '../failure/message-of.js';
import { forEachChanged, type FoundNetns } from './find-changed.js';
import type { ChangedNetns } from './memory.js';
import { removeState } from './netns-state.js';

export interface RestoredNetns {
  /** One sentence per namespace: the pod, and what was removed. */
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
    const changed = removeState(netns, { procPath, memory: before });
    if (changed.length > 0) restored.push(`network namespace of pod ${podUid}: ${changed.join(', ')}`);
  };
  forEachChanged(resolver, memory, restore, (podUid, error) =>
    problems.push(`the network namespace of pod ${podUid} could not be restored: ${messageOf(error)}`),
  );
  return { restored, problems };
}
