// What the cluster is told of this node's pods. Peers send HBONE to a pod as soon as it is announced, so a pod is announced
// last when it joins the mesh, and the announcement is withdrawn first when it leaves.
import * as Context from 'effect/Context';
import * as Effect from 'effect/Effect';
import * as Layer from 'effect/Layer';
import type { WorkloadStatus } from '../enrolment/status.js';
import type { Inventory } from '../inventory/model.js';

export class Announcements extends Context.Service<
  Announcements,
  {
    /** Withdraws the announcements of pods that leave, before the maps are written. Waits until that is done, but not for ever. */
    readonly withdraw: (statuses: readonly WorkloadStatus[], inventory: Inventory) => Effect.Effect<void>;
    /** Announces pods, after everything else is done for them. Does not wait; returns what could not be announced so far, in sentences. */
    readonly publish: (statuses: readonly WorkloadStatus[], inventory: Inventory) => Effect.Effect<readonly string[]>;
  }
>()('@sluice/ambient-agent/announce/Announcements') {}

/** For a node without a cluster. */
export const noAnnouncements: Layer.Layer<Announcements> = Layer.succeed(
  Announcements,
  Announcements.of({ withdraw: () => Effect.void, publish: () => Effect.succeed([]) }),
);
