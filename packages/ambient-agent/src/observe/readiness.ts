// What keeps the agent from being ready. Each part reports its own reason, and /readyz shows them.

/** Returns the reason in words, or undefined if there is none (any more). */
export type Obstacle = () => string | undefined;

export class Readiness {
  readonly #obstacles: Obstacle[] = [];

  /** Adds a part, whose obstacle is asked for each time. Add a part before it starts, because parts that are missing count as ready. */
  unless(obstacle: Obstacle): void {
    this.#obstacles.push(obstacle);
  }

  /** Empty if the agent is ready. */
  reasons(): string[] {
    return this.#obstacles.map((obstacle) => obstacle()).filter((reason) => reason !== undefined);
  }
}
