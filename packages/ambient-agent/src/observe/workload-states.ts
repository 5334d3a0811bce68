// What the mesh may be told of each pod: the seam for whoever writes Istio's annotation `ambient.istio.io/redirection`.
// Peers send HBONE to a pod from the moment it is annotated, so it is told last of all on the way in, and first on the way out.
import * as Context from 'effect/Context';
import * as Effect from 'effect/Effect';
import * as Layer from 'effect/Layer';
import type * as Stream from 'effect/Stream';
import * as SubscriptionRef from 'effect/SubscriptionRef';
import type { WorkloadState, WorkloadStatus } from '../enrolment/status.js';

export interface ToldWorkload {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  /** `in`: ready to be annotated `enabled`; `pending`: as `pending`; anything else: not at all. */
  readonly state: WorkloadState;
}

export class WorkloadStates extends Context.Service<
  WorkloadStates,
  {
    /** By UID, as of now. */
    readonly current: Effect.Effect<ReadonlyMap<string, ToldWorkload>>;
    /** The current states, then those after each change. A slow reader misses states that were overtaken. */
    readonly changes: Stream.Stream<ReadonlyMap<string, ToldWorkload>>;
    /** Before the maps are written: who is not in the mesh any more. */
    readonly withdraw: (statuses: readonly WorkloadStatus[]) => Effect.Effect<void>;
    /** After everything is done for them. */
    readonly publish: (statuses: readonly WorkloadStatus[]) => Effect.Effect<void>;
  }
>()('@sluice/ambient-agent/observe/WorkloadStates') {}

const told = ({ uid, namespace, name, state }: WorkloadStatus): ToldWorkload => ({ uid, namespace, name, state });

function isSame(a: ReadonlyMap<string, ToldWorkload>, b: ReadonlyMap<string, ToldWorkload>): boolean {
  return a.size === b.size && [...a].every(([uid, { state }]) => b.get(uid)?.state === state);
}

export const workloadStates: Layer.Layer<WorkloadStates> = Layer.effect(
  WorkloadStates,
  Effect.gen(function* () {
    const ref = yield* SubscriptionRef.make<ReadonlyMap<string, ToldWorkload>>(new Map());
    const put = (next: ReadonlyMap<string, ToldWorkload>): Effect.Effect<void> =>
      Effect.flatMap(SubscriptionRef.get(ref), (before) =>
        isSame(before, next) ? Effect.void : SubscriptionRef.set(ref, next),
      );
    return WorkloadStates.of({
      current: SubscriptionRef.get(ref),
      changes: SubscriptionRef.changes(ref),
      withdraw: (statuses) =>
        Effect.flatMap(SubscriptionRef.get(ref), (before) => {
          const now = new Map(statuses.map((status) => [status.uid, status.state]));
          const kept = [...before].flatMap(([uid, one]): [string, ToldWorkload][] => {
            const state = now.get(uid);
            if (state === undefined) return [];
            return [[uid, one.state === 'in' && state !== 'in' ? { ...one, state } : one]];
          });
          return put(new Map(kept));
        }),
      publish: (statuses) => put(new Map(statuses.map((status) => [status.uid, told(status)]))),
    });
  }),
);
