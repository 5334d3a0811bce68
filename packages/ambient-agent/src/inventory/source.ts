// The source of the inventory: static-source.ts (a directory) or kubernetes-source.ts (the API).
import * as Context from 'effect/Context';
import type * as Effect from 'effect/Effect';
import type * as Stream from 'effect/Stream';
import type { ReflectorCounters } from '@sluice/kubernetes';
import type { Inventory } from './model.js';

export interface InventorySnapshot {
  readonly inventory: Inventory;
  /** What could not be used, in sentences for people; the inventory is complete without it. */
  readonly problems: readonly string[];
}

/** A collection of the API that is copied, for the metrics. */
export interface Copied {
  /** `pods` */
  readonly resource: string;
  readonly objects: number;
  readonly connected: boolean;
  /** When the server last sent something that was understood, in ms since the epoch. */
  readonly lastContactMs: number | undefined;
  readonly counters: ReflectorCounters;
}

/** A source is ready when its layer is built: `current` then has everything that existed at that moment. */
export class InventorySource extends Context.Service<
  InventorySource,
  {
    /** The latest snapshot; cheap. */
    readonly current: Effect.Effect<InventorySnapshot>;
    /** Emits an element each time `current` may have changed; read `current` to see how. */
    readonly changes: Stream.Stream<void>;
    /** Empty if nothing is copied from an API. */
    readonly copies: () => readonly Copied[];
  }
>()('@sluice/ambient-agent/inventory/InventorySource') {}
