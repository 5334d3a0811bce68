// Finds the pods' network namespaces that Sluice changed, by what was written down and by what the kernel shows.
import type { CgroupResolver } from '@sluice/cgroup-resolver';
import { Netns, NetnsGoneError } from '@sluice/linux';
import * as Effect from 'effect/Effect';
import { messageOf } from '../failure/message-of.js';
import { byCookie, netnsFile, writeNetns, type ChangedNetns } from './memory.js';
import { isChanged } from './netns-state.js';

export interface FoundNetns {
  /** Open during the visit. */
  readonly netns: Netns;
  readonly entry: ChangedNetns;
}

/**
 * Visits the changed namespaces of the pods in the cgroup tree. A namespace of which nothing is written down counts as changed if
 * anything is in it that only Sluice adds.
 * @param visit an error that it throws, or that the kernel returns for a pod, is passed to `refused`
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
      const seen = resolver.podNetns(pod, { hasOwnUsers: true });
      if (seen === undefined) continue;
      using netns = Netns.open(seen.path, seen.cookie);
      const known = memory.get(netns.cookie);
      if (known !== undefined || isChanged(netns))
        visit({ netns, entry: known ?? { cookie: String(netns.cookie), uid: podUid, podUid } });
    } catch (error) {
      // A namespace that is gone needs no restoring.
      if (!(error instanceof NetnsGoneError)) refused(podUid, error);
    }
  }
}

/** The changed namespaces that an earlier agent wrote down or, if its file cannot be used, that the kernel shows. By cookie. */
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
  // The file is put aside only after the search, so that the next agent searches again if this one ends meanwhile.
  yield* file.putAside(reading.why);
  attempt(() => writeNetns(runDir, found));
  yield* Effect.logWarning('network namespaces of pods were searched for what an earlier agent left in them', {
    found: found.size,
    problems,
  });
  return found;
});
