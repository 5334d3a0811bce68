// Turns what a schema found wrong into paths and sentences.
import * as SchemaIssue from 'effect/SchemaIssue';

export interface FieldIssue {
  /** `spec.containers[0].ports`; '' stands for the value itself. */
  readonly path: string;
  readonly keys: readonly (string | number)[];
  readonly text: string;
}

const format = SchemaIssue.makeFormatterStandardSchemaV1();

/** Every issue of a decoding error. Pure. */
export function describeIssue(issue: SchemaIssue.Issue): FieldIssue[] {
  return format(issue).issues.map(({ message, path }) => {
    const keys = (path ?? []).map((part) => {
      const key = typeof part === 'object' ? part.key : part;
      return typeof key === 'number' ? key : String(key);
    });
    const text = keys.reduce<string>((so, key) => {
      if (typeof key === 'number') return `${so}[${key}]`;
      return so === '' ? key : `${so}.${key}`;
    }, '');
    return { path: text, keys, text: message };
  });
}
