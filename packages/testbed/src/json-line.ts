// A line of JSON from another program, accepted only if it has the expected form.
import * as Schema from 'effect/Schema';

/** @throws Error with the line, and what is wrong with it */
export function parseLine<Value>(schema: Schema.Decoder<Value>, line: string): Value {
  try {
    return Schema.decodeUnknownSync(Schema.fromJsonString(schema))(line);
  } catch (cause) {
    throw new Error(`not what was to be said: ${line}: ${String(cause)}`, { cause });
  }
}
