// Whether every connection of a pod was accepted by somebody who was permitted to, at the time.
import { wayOf, type Attempt } from '@sluice/testbed';
import type { Direction, Party, Permits } from './model.js';

/** CLOCK_MONOTONIC in microseconds. */
export function nowUs(): number {
  return Number(process.hrtime.bigint() / 1000n);
}

/** What is permitted to a pod, as it changed. */
export class Timeline {
  readonly #changes: { readonly sinceUs: number; readonly permits: Permits }[] = [];

  /** From now on; the times do not go back. */
  note(permits: Permits, sinceUs: number = nowUs()): void {
    const last = this.#changes.at(-1);
    if (last !== undefined && same(last.permits, permits)) return;
    this.#changes.push({ sinceUs, permits });
  }

  /** What was permitted at any moment of a time: a connection that waited may be what was permitted at either end. */
  permitted(direction: Direction, fromUs: number, untilUs: number): ReadonlySet<Party> {
    const during = this.#changes.filter(({ sinceUs }, n) => {
      const endsUs = this.#changes[n + 1]?.sinceUs ?? Number.POSITIVE_INFINITY;
      return sinceUs <= untilUs && endsUs >= fromUs;
    });
    return new Set(during.flatMap(({ permits }) => [...permits[direction]]));
  }

  get text(): string {
    const parties = (set: ReadonlySet<Party>): string => [...set].toSorted().join('|');
    return this.#changes
      .map(({ sinceUs, permits }) => `${sinceUs}: out ${parties(permits.out)}, in ${parties(permits.in)}`)
      .join('; ');
  }
}

function same(a: Permits, b: Permits): boolean {
  const equal = (x: ReadonlySet<Party>, y: ReadonlySet<Party>): boolean =>
    x.size === y.size && [...x].every((item) => y.has(item));
  return equal(a.out, b.out) && equal(a.in, b.in);
}

/** Who a pod's connections have to do with. */
export interface Parties {
  /** The UID of the pod, by which ztunnel says for whom it accepted. */
  readonly uid: string;
  /** What the last acceptor says of itself: the other node's server, or the pod's own. */
  readonly lastBy: string;
}

/** Undefined if nobody accepted it and it was not refused either: it took too long, or a side was not there. Pure. */
export function partyOf(attempt: Attempt): Party | undefined {
  const way = wayOf(attempt);
  return way === 'failed' ? undefined : way === 'refused' ? 'nobody' : way;
}

/** What is wrong with it, or undefined. Pure. */
export function verdict(
  attempt: Attempt,
  direction: Direction,
  { uid, lastBy }: Parties,
  timeline: Timeline,
): string | undefined {
  const party = partyOf(attempt);
  if (party === undefined) return undefined;
  const permitted = timeline.permitted(direction, attempt.bornUs + attempt.beganUs, attempt.bornUs + attempt.endedUs);
  if (!permitted.has(party)) {
    const what = party === 'nobody' ? 'was refused' : party === 'mesh' ? 'was accepted by ztunnel' : 'went directly';
    return `${what}, where only ${[...permitted].toSorted().join(' or ') || 'nothing'} was permitted`;
  }
  const [first] = attempt.hops;
  if (party === 'mesh' && first?.pod !== uid) return `was accepted by ztunnel's listener of another pod, ${first?.pod}`;
  if (party === 'mesh' && first?.originalDst !== attempt.to)
    return `was dialled to ${attempt.to}, and ztunnel read ${first?.originalDst}`;
  const last = attempt.hops.at(-1);
  if (last?.by !== undefined && last.originalDst === undefined && last.by !== lastBy)
    return `ended at ${last.by} instead of ${lastBy}`;
  return undefined;
}
