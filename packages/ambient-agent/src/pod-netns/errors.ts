// What could not be done in a pod's network namespace. Only that pod stays pending for it.
import * as Schema from 'effect/Schema';

export class PodNetnsError extends Schema.TaggedError<PodNetnsError>()('PodNetnsError', {
  step: Schema.Literals(['open', 'apply', 'look', 'restore']),
  message: Schema.String,
}) {}
