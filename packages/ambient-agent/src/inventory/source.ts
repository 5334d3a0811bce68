// Where the inventory comes from. `static-source.ts` is the one that exists; a Kubernetes API source takes the same place.
import * as Context from 'effect/Context';
import type * as Effect from 'effect/Effect';
import type * as Stream from 'effect/Stream';
import type { Inventory } from './model.js';

export interface InventorySnapshot {
  readonly inventory: Inventory;
  /** What could not be used of the source, in sentences for people; the inventory stands without it. */
  readonly problems: readonly string[];
}

/** A source is ready when its layer is built: `current` then has everything that there was at that moment. */
export class InventorySource extends Context.Service<
  InventorySource,
  {
    /** The latest snapshot; cheap. */
    readonly current: Effect.Effect<InventorySnapshot>;
    /** An element each time `current` may have changed. Says nothing of what changed: read `current`. */
    readonly changes: Stream.Stream<void>;
  }
>()('@sluice/ambient-agent/inventory/InventorySource') {}
