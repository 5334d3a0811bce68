// How long to wait before a refused workload is offered again.

export interface BackOff {
  /** The first wait, in milliseconds, before jitter. */
  readonly baseMs: number;
  /** The longest, in milliseconds. */
  readonly capMs: number;
}

/** ztunnel itself tries a failed start again every five seconds (src/inpod/workloadmanager.rs): no need to wait longer. */
export const defaultBackOff: BackOff = { baseMs: 100, capMs: 5000 };

/**
 * The wait after the given number of refusals (1, 2, ...): it doubles each time, and half of it is random, so that workloads
 * refused together are not offered together for ever.
 * @param random From 0 to below 1.
 */
export function backOffMs({ baseMs, capMs }: BackOff, refusals: number, random: number = Math.random()): number {
  const full = Math.min(capMs, baseMs * 2 ** Math.min(refusals - 1, 30));
  return full / 2 + (full / 2) * random;
}
