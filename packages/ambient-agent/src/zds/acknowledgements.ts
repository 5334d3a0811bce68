// Which pods ztunnel has acknowledged. The ZDS server knows only about its newest connection. Here a pod that was acknowledged
// stays so while ztunnel reconnects and while agents are replaced: either its listeners exist, or the datapath finds none and
// refuses.

export class Acknowledgements {
  /** The cookie of the network namespace that was acknowledged, by pod UID. */
  readonly #acknowledged: Map<string, bigint>;
  readonly #refusals = new Map<string, string>();
  /** The cookies of the pods that the ZDS server has now, by pod UID. */
  #offered: ReadonlyMap<string, bigint> = new Map();

  /** @param before what an earlier agent had seen acknowledged, by pod UID */
  constructor(before: ReadonlyMap<string, bigint>) {
    this.#acknowledged = new Map(before);
  }

  get acknowledged(): ReadonlyMap<string, bigint> {
    return this.#acknowledged;
  }

  /** In words, by pod UID. */
  get refusals(): ReadonlyMap<string, string> {
    return this.#refusals;
  }

  /** Sets the pods that the ZDS server has from now on; others are forgotten. */
  offer(pods: ReadonlyMap<string, bigint>): void {
    this.#offered = pods;
    for (const uid of this.#acknowledged.keys()) if (!pods.has(uid)) this.#acknowledged.delete(uid);
    for (const uid of this.#refusals.keys()) if (!pods.has(uid)) this.#refusals.delete(uid);
  }

  accepted(uid: string): void {
    const cookie = this.#offered.get(uid);
    if (cookie === undefined) return;
    this.#acknowledged.set(uid, cookie);
    this.#refusals.delete(uid);
  }

  /** @param isServed whether the pod has ztunnel's listeners nevertheless, because an older ztunnel still serves it */
  refused(uid: string, reason: string, isServed: (cookie: bigint) => boolean): void {
    const cookie = this.#offered.get(uid);
    if (cookie === undefined) return;
    this.#refusals.set(uid, reason);
    if (!isServed(cookie)) this.#acknowledged.delete(uid);
  }
}
