// What is needed to compare an event's timestamp with a start time in /proc.
import { native } from './native.js';

/**
 * How far CLOCK_BOOTTIME, in which /proc/<pid>/stat gives start times, is ahead of CLOCK_MONOTONIC, in which events are
 * stamped: the time during which this machine has been suspended since boot, in nanoseconds (clock_gettime(2)).
 */
export function suspendedNs(): bigint {
  return native().suspendedNs();
}
