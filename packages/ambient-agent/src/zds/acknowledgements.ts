// Which pods ztunnel has acknowledged. The ZDS server knows only about its newest connection. Here a pod that was acknowledged
// stays so while ztunnel reconnects and while agents are replaced: either its listeners exist, or the datapath finds none and
// refuses.

export class Acknowledgements {
  /** The cookie of the network namespace that was acknowledged, by pod UID. */
  readonly #acknowledged: Map<string, bigint>;
  readonly #refusals = new Map<string, string>();
  /** The connected ztunnels that have acknowledged the pod where it is now, by pod UID; the newest acknowledgement comes last. */
  readonly #by = new Map<string, readonly number[]>();
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

  /** The number of the connection on which each pod was acknowledged, by pod UID; the last one that is still open. */
  get acknowledgedBy(): ReadonlyMap<string, number> {
    return new Map(
      [...this.#by].flatMap(([uid, connections]) => {
        const last = connections.at(-1);
        return last === undefined ? [] : [[uid, last] as const];
      }),
    );
  }

  /** Sets the pods that the ZDS server has from now on; others are forgotten. */
  offer(pods: ReadonlyMap<string, bigint>): void {
    for (const uid of this.#by.keys()) if (pods.get(uid) !== this.#offered.get(uid)) this.#by.delete(uid);
    this.#offered = pods;
    for (const uid of this.#acknowledged.keys()) if (!pods.has(uid)) this.#acknowledged.delete(uid);
    for (const uid of this.#refusals.keys()) if (!pods.has(uid)) this.#refusals.delete(uid);
  }

  /** @param connection its number */
  accepted(uid: string, connection: number): void {
    const cookie = this.#offered.get(uid);
    if (cookie === undefined) return;
    this.#acknowledged.set(uid, cookie);
    this.#by.set(uid, [...this.#without(uid, connection), connection]);
    this.#refusals.delete(uid);
  }

  disconnected(connection: number): void {
    for (const uid of this.#by.keys()) this.#by.set(uid, this.#without(uid, connection));
  }

  #without(uid: string, connection: number): readonly number[] {
    return (this.#by.get(uid) ?? []).filter((one) => one !== connection);
  }

  /** @param isServed whether the pod has ztunnel's listeners nevertheless, because an older ztunnel still serves it */
  refused(uid: string, reason: string, isServed: (cookie: bigint) => boolean): void {
    const cookie = this.#offered.get(uid);
    if (cookie === undefined) return;
    this.#refusals.set(uid, reason);
    if (!isServed(cookie)) this.#acknowledged.delete(uid);
  }
}
