// Waits until the agent has acted: by trying, not by guessing how long it takes.
import { setTimeout as sleep } from 'node:timers/promises';
import { PATIENCE_MS } from '@sluice/testbed';

const PAUSE_MS = 20;

/** Tries until `done` holds for the result or patience ends; returns the last result and how long it took, in ms. */
export async function until<T>(
  attempt: () => Promise<T>,
  done: (result: T) => boolean,
): Promise<{ result: T; elapsedMs: number }> {
  const start = performance.now();
  for (;;) {
    const result = await attempt();
    const elapsedMs = performance.now() - start;
    if (done(result) || elapsedMs > PATIENCE_MS) return { result, elapsedMs };
    await sleep(PAUSE_MS);
  }
}
