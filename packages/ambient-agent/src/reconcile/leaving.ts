// Pods that are not wanted any more stay in the mesh for a while: their peers have to hear of it before ztunnel stops answering them.

/** Times are of a clock that only moves forward, in milliseconds. */
export class Leaving {
  /** Since when each pod is not wanted, by UID. */
  readonly #since = new Map<string, number>();

  /**
   * @param unwanted UIDs of the pods that are in the mesh and not wanted
   * @returns those that stay for now, and after how long the first of them is to go
   */
  look(
    unwanted: ReadonlySet<string>,
    graceMs: number,
    nowMs: number,
  ): { readonly staying: ReadonlySet<string>; readonly nextMs: number | undefined } {
    for (const uid of this.#since.keys()) if (!unwanted.has(uid)) this.#since.delete(uid);
    for (const uid of unwanted) if (!this.#since.has(uid)) this.#since.set(uid, nowMs);
    const left = [...this.#since].map(([uid, since]) => [uid, since + graceMs - nowMs] as const);
    const staying = left.filter(([, ms]) => ms > 0);
    return {
      staying: new Set(staying.map(([uid]) => uid)),
      nextMs: staying.length === 0 ? undefined : Math.min(...staying.map(([, ms]) => ms)),
    };
  }
}
