// Objects with a member for each name of a list; TypeScript's own declarations lose the names.

/** The names of a record, which must have no others. */
export function namesOf<Name extends string>(record: Readonly<Record<Name, unknown>>): Name[];
export function namesOf(record: object): string[] {
  return Object.keys(record);
}

/** A record with a value for each name. */
export function recordOf<Name extends string, Value>(
  names: readonly Name[],
  valueOf: (name: Name, index: number) => Value,
): Record<Name, Value>;
export function recordOf(names: readonly string[], valueOf: (name: string, index: number) => unknown): object {
  return Object.fromEntries(names.map((name, index) => [name, valueOf(name, index)]));
}
