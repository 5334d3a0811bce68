// The error when cgroupfs or the host's network namespace cannot be read.
import * as Schema from 'effect/Schema';

export class NodeViewError extends Schema.TaggedError<NodeViewError>()('NodeViewError', { message: Schema.String }) {}
