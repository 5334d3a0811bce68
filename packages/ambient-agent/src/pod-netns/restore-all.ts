// Gives back every pod's network namespace as it was, without an agent: by the pods that are in the cgroup tree now.
import type { CgroupResolver } from '@sluice/cgroup-resolver';
import { messageOf } from '../failure/message-of.js';
import type { ChangedNetns } from './memory.js';
import { FILTER_NAME } from './original-source-parts.js';
import { checkOriginalSource, removeOriginalSource, type OriginalSourceMemory } from './original-source.js';

export interface RestoredNetns {
  /** Sentences: whose namespace, and what was taken from it. */
  readonly restored: readonly string[];
  readonly problems: readonly string[];
}

/**
 * Idempotent. Without a memory of a namespace, it is ours if our filter is on its loopback.
 * @param memory what an agent wrote down, by cookie
 */
export function restoreAllNetns(
  resolver: Pick<CgroupResolver, 'pods' | 'podNetns'>,
  memory: ReadonlyMap<bigint, ChangedNetns>,
  procPath: string,
): RestoredNetns {
  const restored: string[] = [];
  const problems: string[] = [];
  for (const pod of resolver.pods()) {
    try {
      const netns = resolver.podNetns(pod, []);
      if (netns === undefined) continue;
      const target = { netnsCookie: netns.cookie, procPath };
      const known = memory.get(netns.cookie);
      if (
        known === undefined &&
        checkOriginalSource(netns.path, { ...target, ipv6: false })?.includes(FILTER_NAME) !== false
      )
        continue;
      const result = removeOriginalSource(netns.path, {
        ...target,
        memory: known?.before as OriginalSourceMemory | undefined,
      });
      if (result.kind === 'removed' && result.changed.length > 0)
        restored.push(`network namespace of pod ${pod.podUid}: ${result.changed.join(', ')}`);
    } catch (error) {
      problems.push(`the network namespace of pod ${pod.podUid} is not as it was: ${messageOf(error)}`);
    }
  }
  return { restored, problems };
}
