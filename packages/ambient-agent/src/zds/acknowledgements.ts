// Which pods ztunnel has taken on, as the mesh needs to know it. The ZDS server speaks of its newest connection; here a pod
// that was acknowledged stays so while ztunnel reconnects, and while agents come and go: its listeners are there, or the
// datapath finds none and refuses.

export class Acknowledgements {
  /** Cookie of the network namespace that was acknowledged, by pod UID. */
  readonly #acknowledged: Map<string, bigint>;
  readonly #refusals = new Map<string, string>();
  /** Of the pods that the ZDS server has now. */
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

  /** What the ZDS server has from now on; the others are forgotten. */
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

  /** @param isServed whether the pod has ztunnel's listeners even so: an older ztunnel goes on serving it */
  refused(uid: string, reason: string, isServed: (cookie: bigint) => boolean): void {
    const cookie = this.#offered.get(uid);
    if (cookie === undefined) return;
    this.#refusals.set(uid, reason);
    if (!isServed(cookie)) this.#acknowledged.delete(uid);
  }
}
