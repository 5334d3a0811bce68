// The sampled decisions of the kernel, as they come out of the ring buffer.
import { RingBuffer, type BpfMap } from '@sluice/libbpf';
import { addressText } from './address.js';
import {
  decodeDecisionRecord,
  reasonNames,
  verdictNames,
  type ReasonName,
  type VerdictName,
} from './generated/maps.js';

/** One decision that the kernel made and reported. */
export interface DecisionRecord {
  /** CLOCK_MONOTONIC. */
  readonly timestampNs: bigint;
  /** Of the calling task. */
  readonly cgroupId: bigint;
  /** The caller's `CgroupInfo.id`, 0n if the datapath does not know it. */
  readonly workload: bigint;
  readonly netnsCookie: bigint;
  readonly socketCookie: bigint;
  /** Thread group id in the initial pid namespace. */
  readonly pid: number;
  readonly comm: string;
  readonly ip: string;
  readonly port: number;
  readonly verdict: VerdictName | undefined;
  readonly reason: ReasonName | undefined;
}

/**
 * Calls back with batches of decisions until closed. A ring buffer has one reader: two readers would take records from
 * each other. `dropped` counts the records that were lost after the batch because JavaScript was too slow.
 */
export function readDecisions(
  map: BpfMap,
  onDecisions: (batch: readonly DecisionRecord[], dropped: number) => void,
): { close(): void } {
  return new RingBuffer(map, (batch, dropped) =>
    onDecisions(
      batch.map((bytes) => decode(bytes)),
      dropped,
    ),
  );
}

function decode(bytes: Buffer): DecisionRecord {
  const { destination, comm, verdict, reason, ...rest } = decodeDecisionRecord(bytes);
  const text = Buffer.from(comm);
  const end = text.indexOf(0);
  return {
    ...rest,
    ip: addressText(destination) ?? '::',
    comm: text.toString('utf8', 0, end === -1 ? text.length : end),
    verdict: verdictNames[verdict],
    reason: reasonNames[reason],
  };
}
