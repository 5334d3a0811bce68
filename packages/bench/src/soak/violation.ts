// What never may happen, as an error.
import { PATIENCE_MS } from '@sluice/testbed';

/** A connection went where it must not, or something else happened that never may. */
export class Violation extends Error {}

/** Rejects with a Violation if it takes so long that it will never come. */
export async function within<T>(what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Violation(`not within ${PATIENCE_MS / 1000} s: ${what}`)), PATIENCE_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
