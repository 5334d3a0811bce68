// How long to wait before a server that failed is asked again.

export interface BackOff {
  /** The first wait, in milliseconds, before jitter. */
  readonly baseMs: number;
  /** The longest, in milliseconds. */
  readonly capMs: number;
}

/** client-go's reflector: 800 ms to 30 s, doubled, with jitter (tools/cache/reflector.go). */
export const defaultBackOff: BackOff = { baseMs: 800, capMs: 30_000 };

/**
 * The wait after the given number of failures (1, 2, ...). It doubles each time, and half of it is random, so that a
 * cluster's nodes do not ask again at the same moment. It is never shorter than what the server asked for, to which up to a
 * tenth is added at random. @param random From 0 to below 1.
 */
export function backOffMs(
  { baseMs, capMs }: BackOff,
  failures: number,
  retryAfterMs: number = 0,
  random: number = Math.random(),
): number {
  const full = Math.min(capMs, baseMs * 2 ** Math.min(failures - 1, 30));
  return Math.max(full / 2 + (full / 2) * random, retryAfterMs * (1 + random / 10));
}
