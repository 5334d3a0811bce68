// Waiting for what a cluster does in its own time: by asking again, with a limit that says only that it will never come.
import { setTimeout as sleep } from 'node:timers/promises';

/** In ms. Nothing that works has come near it, on two busy cores. */
export const PATIENCE_MS = 180_000;
const PAUSE_MS = 200;

/** Thrown by a probe where waiting is of no use any more. */
export class Hopeless extends Error {}

/**
 * Asks until `probe` does not throw, and returns what it returned.
 * @param what the object and the state that it is to reach, for the error
 * @throws Hopeless at once; Error with the last reason when patience is over
 */
export async function until<T>(what: string, probe: () => T | Promise<T>, patienceMs = PATIENCE_MS): Promise<T> {
  const end = performance.now() + patienceMs;
  for (;;) {
    try {
      return await probe();
    } catch (error) {
      if (error instanceof Hopeless) throw error;
      if (performance.now() >= end) {
        const why = error instanceof Error ? error.message : String(error);
        throw new Error(`not within ${patienceMs / 1000} s: ${what}; at last: ${why}`, { cause: error });
      }
    }
    await sleep(PAUSE_MS);
  }
}
