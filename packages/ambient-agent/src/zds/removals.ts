// Removals that connected ztunnels have been told of, or will be, and have not acknowledged. An agent that leaves the node waits for
// them, so that no ztunnel goes on listening in a pod.

export class Removals {
  /** UIDs, by connection. */
  readonly #owed = new Map<number, Set<string>>();
  #offered: ReadonlySet<string> = new Set();

  get size(): number {
    return [...this.#owed.values()].reduce((sum, uids) => sum + uids.size, 0);
  }

  /** @param connections the present ones, which are told of the removals */
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

  /** Forgets the connection's removals: ztunnel learns of them from its next snapshot. */
  disconnected(connection: number): void {
    this.#owed.delete(connection);
  }
}
