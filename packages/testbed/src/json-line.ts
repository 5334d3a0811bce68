// A line of JSON that another program says, believed only if it is what that program has to say.
import * as Schema from 'effect/Schema';

/** @throws Error with the line, and what is wrong with it */
export function parseLine<Value>(schema: Schema.Decoder<Value>, line: string): Value {
  try {
    return Schema.decodeUnknownSync(Schema.fromJsonString(schema))(line);
  } catch (cause) {
    throw new Error(`not what was to be said: ${line}: ${String(cause)}`, { cause });
  }
}
