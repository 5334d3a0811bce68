// What one start of a pod gave.
import { wayOf, type Attempt, type Way } from '@sluice/testbed';

export interface Sample {
  readonly start: number;
  readonly family: 4 | 6;
  /** How many dials went which way. */
  readonly ways: Readonly<Record<Way, number>>;
  /** From the application's main() to the end of its first dial in the mesh, in ms; undefined if there was none. */
  readonly waitMs: number | undefined;
  /** Where its first dial went. */
  readonly first: Way;
  /** The first dial that was not in the mesh, if there was one. */
  readonly wrong: Attempt | undefined;
}

/** Pure. */
export function sampleOf(start: number, family: 4 | 6, attempts: readonly Attempt[]): Sample {
  const ways = { mesh: 0, direct: 0, refused: 0, failed: 0 };
  for (const attempt of attempts) ways[wayOf(attempt)] += 1;
  const met = attempts.find((attempt) => wayOf(attempt) === 'mesh');
  return {
    start,
    family,
    ways,
    waitMs: met === undefined ? undefined : met.endedUs / 1000,
    first: attempts[0] === undefined ? 'failed' : wayOf(attempts[0]),
    wrong: attempts.find((attempt) => wayOf(attempt) !== 'mesh'),
  };
}
