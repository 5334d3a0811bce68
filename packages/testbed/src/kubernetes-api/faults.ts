// What the API double does wrong on command, to requests that are still to come. `watches` has what is done to watches
// that are under way.

export type Fault =
  /** An error answer, with a Status, as a server in trouble gives it. */
  | { readonly kind: 'status'; readonly code: number; readonly retryAfterSeconds?: number }
  /** The request is read and never answered; the connection stays open. */
  | { readonly kind: 'silence' }
  /** The connection is closed after so many bytes of the answer, its head included. */
  | { readonly kind: 'drop'; readonly afterBytes: number }
  | { readonly kind: 'slow'; readonly delayMs: number }
  /** The answer comes when this is fulfilled. For a server in the process that injects it. */
  | { readonly kind: 'held'; readonly until: Promise<unknown> }
  /** The body of the answer is not JSON. */
  | { readonly kind: 'garbage' }
  /** 410 as the answer (`http`), or as the only event of a watch (`event`). */
  | { readonly kind: 'gone'; readonly how: 'http' | 'event' }
  /** A watch that ends as soon as it has begun. */
  | { readonly kind: 'end' }
  /** A watch that begins with the last changes once more. */
  | { readonly kind: 'duplicates'; readonly count: number };

export interface FaultFilter {
  /** Such as `list`, `watch`, `patch`; all when absent. */
  readonly verb?: string;
  /** Such as `pods`; all when absent. */
  readonly resource?: string;
  /** Only lists that go on from a `continue` token. */
  readonly continued?: boolean;
  /** How often; once by default, Infinity until `clear`. */
  readonly times?: number;
}

interface Armed {
  readonly fault: Fault;
  readonly filter: FaultFilter;
  left: number;
}

export class Faults {
  readonly #armed: Armed[] = [];

  /** The next request that fits gets the fault; the earliest injected comes first. */
  inject(fault: Fault, filter: FaultFilter = {}): void {
    this.#armed.push({ fault, filter, left: filter.times ?? 1 });
  }

  clear(): void {
    this.#armed.length = 0;
  }

  /** How many are waiting for a request. */
  get waiting(): number {
    return this.#armed.length;
  }

  /** The fault of one request, which is then used up. */
  take(request: { verb: string; resource: string; continued: boolean }): Fault | undefined {
    const index = this.#armed.findIndex(
      ({ filter }) =>
        (filter.verb === undefined || filter.verb === request.verb) &&
        (filter.resource === undefined || filter.resource === request.resource) &&
        (filter.continued === undefined || filter.continued === request.continued),
    );
    const armed = this.#armed[index];
    if (armed === undefined) return undefined;
    armed.left -= 1;
    if (armed.left <= 0) this.#armed.splice(index, 1);
    return armed.fault;
  }
}
