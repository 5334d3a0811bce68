// In which pods' network namespaces something of ours is: what was written down, and what the kernel shows.
import type { CgroupResolver } from '@sluice/cgroup-resolver';
import { Netns, NetnsGoneError } from '@sluice/linux';
import * as Effect from 'effect/Effect';
import { messageOf } from '../failure/message-of.js';
import { byCookie, netnsFile, writeNetns, type ChangedNetns } from './memory.js';
import { hasFilter } from './original-source-parts.js';

export interface FoundNetns {
  /** Open during the visit. */
  readonly netns: Netns;
  readonly entry: ChangedNetns;
}

/**
 * Of the pods that are in the cgroup tree now. Without a memory of a namespace, it is ours if our filter is on its loopback:
 * that is the first thing to come and the last to go.
 * @param visit what it throws, and what the kernel says of a pod, is given to `refused`
 */
export function forEachChanged(
  resolver: Pick<CgroupResolver, 'pods' | 'podNetns'>,
  memory: ReadonlyMap<bigint, ChangedNetns>,
  visit: (found: FoundNetns) => void,
  refused: (podUid: string, error: unknown) => void,
): void {
  for (const pod of resolver.pods()) {
    const { podUid } = pod;
    try {
      const seen = resolver.podNetns(pod, []);
      if (seen === undefined) continue;
      using netns = Netns.open(seen.path, seen.cookie);
      const known = memory.get(netns.cookie);
      if (known !== undefined || hasFilter(netns))
        visit({ netns, entry: known ?? { cookie: String(netns.cookie), uid: podUid, podUid } });
    } catch (error) {
      // What was in it has gone with it.
      if (!(error instanceof NetnsGoneError)) refused(podUid, error);
    }
  }
}

/** What an earlier agent wrote down; where that cannot be used, what the kernel shows. By cookie. */
export const recallNetns = Effect.fnUntraced(function* (
  runDir: string,
  resolver: Pick<CgroupResolver, 'pods' | 'podNetns'>,
): Effect.fn.Return<Map<bigint, ChangedNetns>> {
  const file = netnsFile(runDir);
  const reading = file.read();
  if (reading.kind !== 'unusable') return byCookie(reading.kind === 'kept' ? reading.value.netns : []);
  const found = new Map<bigint, ChangedNetns>();
  const problems: string[] = [];
  const attempt = (work: () => void): void => {
    try {
      work();
    } catch (error) {
      problems.push(messageOf(error));
    }
  };
  attempt(() =>
    forEachChanged(
      resolver,
      found,
      ({ netns, entry }) => found.set(netns.cookie, entry),
      (podUid, error) => problems.push(`pod ${podUid}: ${messageOf(error)}`),
    ),
  );
  // Only now is it put aside: where an agent ends while it looks, the next one looks again.
  yield* file.putAside(reading.why);
  attempt(() => writeNetns(runDir, found));
  yield* Effect.logWarning('network namespaces of pods were searched for what an earlier agent left in them', {
    found: found.size,
    problems,
  });
  return found;
});
