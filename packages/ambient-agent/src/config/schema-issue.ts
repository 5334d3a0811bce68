// Turns what a schema found wrong into paths and sentences.
import * as SchemaIssue from 'effect/SchemaIssue';

export interface FieldIssue {
  /** `spec.containers[0].ports`; '' stands for the value itself. */
  readonly path: string;
  readonly keys: readonly Key[];
  readonly text: string;
}

export type Key = string | number;

/** `spec.containers[0].ports` of its keys; '' if there are none. Pure. */
export const pathText = (keys: readonly Key[]): string =>
  keys.reduce<string>((so, key) => (typeof key === 'number' ? `${so}[${key}]` : so === '' ? key : `${so}.${key}`), '');

const format = SchemaIssue.makeFormatterStandardSchemaV1();

/** Every issue of a decoding error. Pure. */
export function describeIssue(issue: SchemaIssue.Issue): FieldIssue[] {
  return format(issue).issues.map(({ message, path }) => {
    const keys = (path ?? []).map((part) => {
      const key = typeof part === 'object' ? part.key : part;
      return typeof key === 'number' ? key : String(key);
    });
    return { path: pathText(keys), keys, text: message };
  });
}
