// What the cluster is told of this node's pods. Peers send HBONE to a pod from the moment that it is announced, so that comes
// last of all on the way into the mesh, and is taken back first on the way out.
import * as Context from 'effect/Context';
import * as Effect from 'effect/Effect';
import * as Layer from 'effect/Layer';
import type { WorkloadStatus } from '../enrolment/status.js';
import type { Inventory } from '../inventory/model.js';

export class Announcements extends Context.Service<
  Announcements,
  {
    /** Before the maps are written: whoever leaves the mesh is said to do so. Waits for that, but not for ever. */
    readonly withdraw: (statuses: readonly WorkloadStatus[], inventory: Inventory) => Effect.Effect<void>;
    /** After everything is done for them; waits for nothing. What could not be said so far, in sentences. */
    readonly publish: (statuses: readonly WorkloadStatus[], inventory: Inventory) => Effect.Effect<readonly string[]>;
  }
>()('@sluice/ambient-agent/announce/Announcements') {}

/** There is no cluster to be told. */
export const noAnnouncements: Layer.Layer<Announcements> = Layer.succeed(
  Announcements,
  Announcements.of({ withdraw: () => Effect.void, publish: () => Effect.succeed([]) }),
);
