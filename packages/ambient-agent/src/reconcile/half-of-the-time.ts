// How long the next pass has to wait: in a storm of hints, passes take half of the time, and not all of it.

/** What was not used is kept for a burst. All times are in milliseconds, of one clock. */
export class HalfOfTheTime {
  readonly #burstMs: number;
  readonly #longestMs: number;
  #leftMs: number;
  /** The end of the newest pass. */
  #sinceMs: number;

  /**
   * @param burstMs so much may follow without a pause after a quiet time
   * @param longestMs of a pause: a pass that took longer is not paid for by those after it
   */
  constructor(burstMs: number, longestMs: number, nowMs: number) {
    this.#burstMs = burstMs;
    this.#longestMs = longestMs;
    this.#leftMs = burstMs;
    this.#sinceMs = nowMs;
  }

  /** After a pass; returns for how long the next one has to wait. */
  spent(startMs: number, endMs: number): number {
    const idleMs = startMs - this.#sinceMs;
    this.#sinceMs = endMs;
    const leftMs = Math.min(this.#burstMs, this.#leftMs + idleMs) - (endMs - startMs);
    this.#leftMs = Math.max(-this.#longestMs, leftMs);
    return Math.max(0, -this.#leftMs);
  }
}
