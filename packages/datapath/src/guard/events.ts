// What the guard tells as it happens. These are hints: the truth is in the cgroup tree and in the maps.
import { RingBuffer, type BpfMap } from '@sluice/libbpf';
import { PodEventKind, decodePodEvent, type PodEvent as PodEventValue } from '../generated/maps.js';

export type PodEvent =
  /** A pod's cgroup, or one inside it, which nobody inside a pod has made or removed. */
  | {
      readonly kind: 'cgroup-made' | 'cgroup-removed';
      readonly cgroupId: bigint;
      /** From the root of the hierarchy, as /proc/<pid>/cgroup shows it to the agent's host. */
      readonly path: string;
    }
  /** A listener that has to be let go, although it was not there when the pod's others were. */
  | { readonly kind: 'listener-late'; /** Of the pod. */ readonly cgroupId: bigint; readonly netnsCookie: bigint };

/** The path comes behind the record. */
const RECORD_BYTES = 24;

/**
 * Calls back with batches until closed. A ring buffer has one reader: two readers would take events from each other. `dropped`
 * counts the events that were lost after the batch because JavaScript was too slow.
 */
export function readPodEvents(
  map: BpfMap,
  onEvents: (batch: readonly PodEvent[], dropped: number) => void,
): { close(): void } {
  return new RingBuffer(map, (batch, dropped) =>
    onEvents(
      batch.map((bytes) => decode(decodePodEvent(bytes), bytes.toString('utf8', RECORD_BYTES))),
      dropped,
    ),
  );
}

function decode({ kind, cgroupId, netnsCookie }: PodEventValue, path: string): PodEvent {
  if (kind === PodEventKind.LISTENER_LATE) return { kind: 'listener-late', cgroupId, netnsCookie };
  return { kind: kind === PodEventKind.CGROUP_MADE ? 'cgroup-made' : 'cgroup-removed', cgroupId, path };
}
