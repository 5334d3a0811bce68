// `sluice status --verify`: compares what the agent says with what the kernel has, and looks again until neither changes.
import * as Effect from 'effect/Effect';
import { messageOf } from '../failure/message-of.js';
import { contentOf } from '../state/state.js';
import { claimsOf } from './claims.js';
import { differencesOf, nameOf, type Difference } from './differences.js';
import { InspectError } from './errors.js';
import { readKernel } from './kernel-view.js';
import { readNodeStatus, type NodeStatus } from './node-status.js';

export interface Verification {
  /** Sorted by kind and object. */
  readonly differences: readonly Difference[];
  /** What could not be compared, and why. */
  readonly unchecked: readonly string[];
  readonly compared: { readonly entries: number; readonly programs: number; readonly networkNamespaces: number };
  readonly looks: number;
  /** False if the agent's state changed under every look; `differences` are then those that the last two looks share. */
  readonly isSettled: boolean;
}

export type VerifiedStatus = NodeStatus & { readonly verification: Verification };

/** A pass writes the maps first and the state last, so in the middle of a pass the two differ for a moment. */
const BETWEEN_LOOKS_MS = 500;
const LOOKS = 6;

export interface VerifyPlaces {
  readonly runDir: string;
  readonly proc: string;
}

/** Works without an agent, but only as root. */
export const verifyNode = Effect.fnUntraced(function* (
  places: VerifyPlaces,
): Effect.fn.Return<VerifiedStatus, InspectError> {
  let before: Look | undefined;
  for (let looks = 1; ; looks += 1) {
    const now = yield* look(places);
    const isSettled = now.isStill && (now.isFinal || isAlike(before, now));
    if (isSettled || looks === LOOKS) {
      const { unchecked, compared } = now;
      const differences = isSettled ? now.differences : inBoth(before, now);
      return { ...now.status, verification: { differences, unchecked, compared, looks, isSettled } };
    }
    before = now;
    yield* Effect.sleep(BETWEEN_LOOKS_MS);
  }
});

interface Look extends Pick<Verification, 'differences' | 'unchecked' | 'compared'> {
  readonly status: NodeStatus;
  /** The content of the state, which the agent did not change during the look if `isStill`. */
  readonly content: string;
  readonly isStill: boolean;
  /** Whether another look would find nothing else. */
  readonly isFinal: boolean;
}

const isAlike = (a: Look | undefined, b: Look): boolean =>
  a?.content === b.content && JSON.stringify(a.differences) === JSON.stringify(b.differences);

/** A difference in the middle of a pass is not found a second time. */
function inBoth(a: Look | undefined, b: Look): readonly Difference[] {
  const before = new Set(a?.differences.map((difference) => JSON.stringify(difference)));
  return b.differences.filter((difference) => before.has(JSON.stringify(difference)));
}

const look = ({ runDir, proc }: VerifyPlaces): Effect.Effect<Look, InspectError> =>
  Effect.try({
    try: () => {
      if (process.getuid?.() !== 0)
        throw new InspectError(
          'not-root',
          'only root can read the kernel’s maps and links and the network namespaces of pods; run this as root',
        );
      const status = readNodeStatus(runDir, proc);
      const claims = claimsOf(status.state);
      const kernel = readKernel(claims, proc);
      const differences = differencesOf(claims, kernel, status.agent);
      const content = contentOf(status.state);
      const unchecked = claims.netns.flatMap(({ cookie, pod }) => {
        const seen = kernel.netns.get(cookie);
        return seen?.kind === 'unchecked' ? [`the network namespace of ${nameOf(pod)}: ${seen.why}`] : [];
      });
      const keys = Object.values(claims.maps).flatMap((byValue) => Object.values(byValue).map(({ length }) => length));
      return {
        status,
        differences,
        unchecked,
        compared: {
          entries: keys.reduce((sum, length) => sum + length, 0),
          programs: kernel.programs.length,
          networkNamespaces: claims.netns.length,
        },
        content,
        isStill: contentOf(readNodeStatus(runDir, proc).state) === content,
        isFinal: differences.length === 0 || status.agent === 'not-running',
      };
    },
    catch: (error) => (error instanceof InspectError ? error : new InspectError('kernel', messageOf(error))),
  });
