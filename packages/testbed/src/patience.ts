// Waits for what takes its own time: it asks again and again, with one limit that only means that it will never come.
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * In ms. Everything that has to happen is waited for as long as this, also by `expect.poll` in every test
 * (vitest.workspace.ts). It measures nothing: nothing that works has come near it, on two busy cores.
 */
export const PATIENCE_MS = 180_000;
const PAUSE_MS = 50;
const BLOCKED_PAUSE_MS = 5;

/** A probe throws it when waiting is no longer of any use. */
export class Hopeless extends Error {}

/**
 * Calls `probe` until it does not throw, and returns its result.
 * @param what the object and the state that it has to reach, for the error
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
 * The same where nothing may be awaited: it blocks the event loop until another thread, another process or the kernel has made
 * the condition true.
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
