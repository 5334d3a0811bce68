// What keeps the agent from being ready: each part says so for itself, and /readyz tells.

/** A reason in words, or undefined: it is no obstacle (any more). */
export type Obstacle = () => string | undefined;

export class Readiness {
  readonly #obstacles: Obstacle[] = [];

  /** Asked each time somebody wants to know. Register a part before it begins: what nobody speaks for is ready. */
  unless(obstacle: Obstacle): void {
    this.#obstacles.push(obstacle);
  }

  /** Empty: ready. */
  reasons(): string[] {
    return this.#obstacles.map((obstacle) => obstacle()).filter((reason) => reason !== undefined);
  }
}
