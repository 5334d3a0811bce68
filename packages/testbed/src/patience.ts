// Waiting for what comes in its own time: by asking again, with one limit that says only that it will never come.
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * In ms. Whoever waits for something that has to come waits as long as this, `expect.poll` of every test too
 * (vitest.workspace.ts). Nothing is measured by it: nothing that works has come near it, on two busy cores.
 */
export const PATIENCE_MS = 180_000;
const PAUSE_MS = 50;
const BLOCKED_PAUSE_MS = 5;

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

/**
 * The same where nothing may be awaited: the event loop stands still until another thread, another process or the kernel
 * has made it so.
 * @throws Error when patience is over
 */
export function blockUntil(what: string, holds: () => boolean): void {
  const end = performance.now() + PATIENCE_MS;
  const never = new Int32Array(new SharedArrayBuffer(4));
  while (!holds()) {
    if (performance.now() >= end) throw new Error(`not within ${PATIENCE_MS / 1000} s: ${what}`);
    Atomics.wait(never, 0, 0, BLOCKED_PAUSE_MS);
  }
}
