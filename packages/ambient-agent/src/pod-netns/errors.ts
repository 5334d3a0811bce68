// What could not be done in a pod's network namespace: that pod waits for it, and no other.
import * as Schema from 'effect/Schema';

export class PodNetnsError extends Schema.TaggedError<PodNetnsError>()('PodNetnsError', {
  step: Schema.Literals(['open', 'original-source', 'restore']),
  message: Schema.String,
}) {}
