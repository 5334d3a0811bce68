// For how long each pod has been without ztunnel, so that its connections are not held for ever.

export class Patience {
  readonly #limitMs: number;
  /** By the pod's UID: since when it waits. */
  #since: ReadonlyMap<string, number> = new Map();

  /** @param limitMs for how long a pod's connections are held */
  constructor(limitMs: number) {
    this.#limitMs = limitMs;
  }

  /** The UIDs of the pods that have waited long enough. `nowMs`: of a clock that only moves forward. */
  overdue(nowMs: number): ReadonlySet<string> {
    return new Set([...this.#since].filter(([, since]) => nowMs - since >= this.#limitMs).map(([uid]) => uid));
  }

  /** Says which pods wait now. One that has stopped waiting begins anew. */
  see(waiting: Iterable<string>, nowMs: number): void {
    this.#since = new Map([...waiting].map((uid) => [uid, this.#since.get(uid) ?? nowMs]));
  }

  /** In how many milliseconds the next pod has waited long enough; undefined if none waits that has not yet. */
  nextMs(nowMs: number): number | undefined {
    const left = [...this.#since.values()].map((since) => since + this.#limitMs - nowMs).filter((ms) => ms > 0);
    return left.length === 0 ? undefined : Math.min(...left);
  }
}
