// What the API double does wrong on command, to future requests. `watches` has what is done to open watches.
import * as Schema from 'effect/Schema';

/** The faults that can be sent to a server in another process. */
export const SentFault = Schema.Union([
  /** An error answer with a Status, as from a server in trouble. */
  Schema.Struct({
    kind: Schema.Literal('status'),
    code: Schema.Int,
    retryAfterSeconds: Schema.optionalKey(Schema.Finite),
  }),
  /** The request is read and never answered; the connection stays open. */
  Schema.Struct({ kind: Schema.Literal('silence') }),
  /** The connection is closed after so many bytes of the answer, including its head. */
  Schema.Struct({ kind: Schema.Literal('drop'), afterBytes: Schema.Int }),
  Schema.Struct({ kind: Schema.Literal('slow'), delayMs: Schema.Finite }),
  /** The body of the answer is not JSON. */
  Schema.Struct({ kind: Schema.Literal('garbage') }),
  /** 410 as the answer (`http`), or as the only event of a watch (`event`). */
  Schema.Struct({ kind: Schema.Literal('gone'), how: Schema.Literals(['http', 'event']) }),
  /** A watch that ends as soon as it has begun. */
  Schema.Struct({ kind: Schema.Literal('end') }),
  /** A watch that begins with the last changes once more. */
  Schema.Struct({ kind: Schema.Literal('duplicates'), count: Schema.Int }),
]);
export type SentFault = typeof SentFault.Type;

export type Fault =
  | SentFault
  /** The answer comes when this is fulfilled. Only for a server in the same process. */
  | { readonly kind: 'held'; readonly until: Promise<unknown> };

export const FaultFilter = Schema.Struct({
  /** Such as `list`, `watch`, `patch`; all when absent. */
  verb: Schema.optionalKey(Schema.String),
  /** Such as `pods`; all when absent. */
  resource: Schema.optionalKey(Schema.String),
  /** Only lists that go on from a `continue` token. */
  continued: Schema.optionalKey(Schema.Boolean),
  /** How often; once by default, and with Infinity until `clear`. */
  times: Schema.optionalKey(Schema.Number),
});
export type FaultFilter = typeof FaultFilter.Type;

interface Armed {
  readonly fault: Fault;
  readonly filter: FaultFilter;
  left: number;
}

export class Faults {
  readonly #armed: Armed[] = [];

  /** The next matching request gets the fault; faults are used in the order in which they were injected. */
  inject(fault: Fault, filter: FaultFilter = {}): void {
    this.#armed.push({ fault, filter, left: filter.times ?? 1 });
  }

  clear(): void {
    this.#armed.length = 0;
  }

  /** How many faults wait for a request. */
  get waiting(): number {
    return this.#armed.length;
  }

  /** The fault for one request, which is then used up. */
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
