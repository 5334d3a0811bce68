// A pod of the node of a soak, and the programs that dial from it and to it.
import { statSync } from 'node:fs';
import type { Attempt, Attempts, Pod } from '@sluice/testbed';
import type { Timeline } from './judge.js';
import type { Direction } from './model.js';

/** One program that dials again and again. */
export interface Loop {
  readonly name: string;
  readonly direction: Direction;
  readonly attempts: Attempts;
  /** How many of its attempts have been judged. */
  judged: number;
}

export interface LivePod {
  readonly name: string;
  readonly pod: Pod;
  readonly timeline: Timeline;
  readonly loops: Loop[];
  /** Addresses beyond its own. */
  readonly further: string[];
  /** Fulfilled when it has been started. */
  starting: Promise<void>;
  isUp: boolean;
}

export async function stop({ attempts }: Loop): Promise<void> {
  await attempts.stop();
}

/** The kernel's id of the pod-level cgroup. */
export function cgroupIdOf(pod: Pod): bigint {
  return statSync(pod.cgroup.path, { bigint: true }).ino;
}

/** The attempts of all loops that began after a moment, by loop. */
export function attemptsSince(
  live: LivePod,
  sinceUs: number,
): { loop: string; direction: Direction; attempts: Attempt[] }[] {
  return live.loops
    .filter(({ attempts }) => attempts.isRunning)
    .map(({ name, direction, attempts }) => ({
      loop: name,
      direction,
      attempts: attempts.all.filter(({ bornUs, beganUs }) => bornUs + beganUs >= sinceUs),
    }));
}
