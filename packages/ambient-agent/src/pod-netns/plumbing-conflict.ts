// Something in a pod's network namespace that is in the way of what Sluice puts there.
import * as Schema from 'effect/Schema';

/** `part` is what could not be put; the message names what is in its place, and what to do. */
export class PlumbingConflict extends Schema.TaggedError<PlumbingConflict>()('PlumbingConflict', {
  part: Schema.Literals(['rule', 'route', 'filter', 'loopback']),
  message: Schema.String,
}) {}
