// Turns event timestamps into the ticks of /proc.
import { suspendedNs } from '@sluice/netlink-proc-connector';

/** USER_HZ is 100 on every architecture that Node runs on (include/asm-generic/param.h), so a tick is 10 ms. */
const NS_PER_TICK = 10_000_000n;

/** Turns a CLOCK_MONOTONIC timestamp in nanoseconds into clock ticks since boot, as in /proc/<pid>/stat. */
export type TicksOf = (timestampNs: bigint) => bigint;

/** Adds the time during which the machine was suspended. That is read once, so a watcher does not follow a later suspend. */
export function bootTicks(suspended: bigint = suspendedNs()): TicksOf {
  return (timestampNs) => (timestampNs + suspended) / NS_PER_TICK;
}
