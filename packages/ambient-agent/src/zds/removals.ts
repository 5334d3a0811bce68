// Removals that connected ztunnels have been told of, or will be, and have not acknowledged: what an agent that leaves the node
// waits for, so that no ztunnel goes on listening in a pod.

export class Removals {
  /** UIDs, by connection. */
  readonly #owed = new Map<number, Set<string>>();
  #offered: ReadonlySet<string> = new Set();

  get size(): number {
    return [...this.#owed.values()].reduce((sum, uids) => sum + uids.size, 0);
  }

  /** @param connections those that are there now, and therefore are told of what is gone */
  offered(uids: ReadonlySet<string>, connections: Iterable<number>): void {
    const gone = [...this.#offered].filter((uid) => !uids.has(uid));
    this.#offered = uids;
    for (const owed of this.#owed.values()) for (const uid of uids) owed.delete(uid);
    for (const connection of connections) {
      const owed = this.#owed.get(connection) ?? new Set();
      for (const uid of gone) owed.add(uid);
      this.#owed.set(connection, owed);
    }
  }

  acknowledged(connection: number, uid: string): void {
    this.#owed.get(connection)?.delete(uid);
  }

  /** Nobody is left to acknowledge: ztunnel learns it from the next snapshot. */
  disconnected(connection: number): void {
    this.#owed.delete(connection);
  }
}
