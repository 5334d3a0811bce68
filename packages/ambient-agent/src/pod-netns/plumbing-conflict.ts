// A conflict between Sluice's plumbing and something else in a pod's network namespace.
import * as Schema from 'effect/Schema';

/** `part` could not be added; the message names what is in its place, and what to do. */
export class PlumbingConflict extends Schema.TaggedError<PlumbingConflict>()('PlumbingConflict', {
  part: Schema.Literals(['rule', 'route', 'filter', 'loopback']),
  message: Schema.String,
}) {}
