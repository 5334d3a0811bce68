// What of the datapath somebody else has taken away, at this moment: the one place where readiness, the metrics, the status and the states
// of pods learn of it.
import { isWithin, type AttachPlan, type MissingKind, type MissingPart, type Place } from '@sluice/datapath';
import * as Effect from 'effect/Effect';
import { Enforcement } from '../node/enforcement.js';
import { NodeGuard } from '../node/guard.js';
import { metrics } from '../observe/metrics.js';
import type { Part } from '../pod-netns/parts.js';
import { PodNetns } from '../pod-netns/pod-netns.js';

/** Something that was missing and has been put back. */
export interface Repair {
  readonly kind: MissingKind | Part['kind'];
  readonly what: string;
}

const KINDS: Readonly<Record<MissingKind, true>> = {
  program: true,
  inbound: true,
  replaced: true,
  holder: true,
  entry: true,
  pin: true,
  bpffs: true,
};

/** Asks the kernel. */
export const missingNow = Effect.gen(function* () {
  const { missing } = yield* Enforcement;
  const guard = yield* NodeGuard;
  const podNetns = yield* PodNetns;
  const parts = [...(yield* missing), ...(yield* guard.disturbed)];
  // A link ends with its network namespace, which stays as long as it is open here.
  return parts.filter(({ netnsCookie }) => netnsCookie === undefined || podNetns.get(netnsCookie) !== undefined);
});

const nameOf = ({ kind, what }: Repair): string => `${kind} ${what}`;

/** What was missing, is not any more, and is still wanted. Pure. */
export function repairsOf(
  before: readonly MissingPart[],
  after: readonly MissingPart[],
  isWanted: (part: MissingPart) => boolean,
): readonly Repair[] {
  const left = new Set(after.map(nameOf));
  return before.filter((part) => !left.has(nameOf(part)) && isWanted(part));
}

/** Whether a plan still has what a part is about. Pure. */
export const isPlanned = ({ cgroupId }: MissingPart, plan: AttachPlan): boolean =>
  cgroupId === undefined || [...plan.values()].some((places) => places.some(({ id }) => id === cgroupId));

/** The parts whose absence lets connections of a pod go past the datapath: those at a cgroup that it is in, and in its namespace. Pure. */
export const missingOf = (
  parts: readonly MissingPart[],
  pod: { readonly place: Place; readonly netnsCookie: bigint | undefined },
  plan: AttachPlan,
): readonly MissingPart[] => {
  const around = new Set([...plan.values()].flat().flatMap((place) => (isWithin(pod.place, place) ? [place.id] : [])));
  return parts.filter(
    ({ kind, cgroupId, netnsCookie }) =>
      kind !== 'pin' &&
      kind !== 'bpffs' &&
      ((cgroupId !== undefined && around.has(cgroupId)) ||
        (netnsCookie !== undefined && netnsCookie === pod.netnsCookie)),
  );
};

/** The newest look of all. */
export class LastLook {
  #parts: readonly MissingPart[] = [];

  get parts(): readonly MissingPart[] {
    return this.#parts;
  }

  /** Takes a look, and says whether anything is missing that was not at the look before. */
  take(parts: readonly MissingPart[]): Effect.Effect<boolean> {
    return Effect.suspend(() => {
      const before = new Set(this.#parts.map(nameOf));
      this.#parts = parts;
      const counts = Object.keys(KINDS).map((kind) =>
        metrics.missing(kind, parts.filter((part) => part.kind === kind).length),
      );
      return Effect.as(
        Effect.all(counts, { discard: true }),
        parts.some((part) => !before.has(nameOf(part))),
      );
    });
  }

  /** Undefined if nothing is missing. */
  whyNotReady(): string | undefined {
    return this.#parts.length === 0 ? undefined : `the datapath is in force only in part: ${said(this.#parts)}`;
  }
}

/** A full node has thousands of pins. */
const NAMED = 5;

/** In words, for people. Pure. */
export function said(parts: readonly MissingPart[]): string {
  const named = parts.slice(0, NAMED).map(({ what }) => what);
  const others = parts.length - named.length;
  return [...named, ...(others > 0 ? [`and ${others} more`] : [])].join('; ');
}
