// What the stand-in ztunnel reports about itself in inPod mode, besides the connections that it accepts.
import * as Schema from 'effect/Schema';

const event = <const Name extends string, const Fields extends Schema.Struct.Fields>(name: Name, fields: Fields) =>
  Schema.Struct({ event: Schema.Literal(name), ...fields });
const pod = { pod: Schema.String };
const reason = { reason: Schema.String };

export const ZtunnelEvent = Schema.Union([
  /** Hello has been sent. */
  event('connected', {}),
  /** It connects again by itself, and meanwhile keeps what it has. */
  event('disconnected', reason),
  event('added', {
    ...pod,
    name: Schema.String,
    namespace: Schema.String,
    serviceAccount: Schema.String,
    /** The inode of the namespace. */
    netns: Schema.Int,
  }),
  /** An Add for a namespace that it serves already. */
  event('unchanged', pod),
  /** An Add that it refused because a listener could not be opened; it tries again every 5 s. */
  event('refused', { ...pod, ...reason }),
  event('retried', pod),
  event('kept', pod),
  event('removed', pod),
  /** The snapshot did not name it. */
  event('dropped', pod),
  event('snapshot', {}),
  /** The snapshot is over and no refused Add is left to try again: ztunnel's pod would be Ready. */
  event('ready', {}),
  /** It exits with status 1. */
  event('protocol-error', reason),
  event('query', {
    by: Schema.String,
    pod: Schema.optionalKey(Schema.String),
    protocol: Schema.Literals(['udp', 'tcp']),
    name: Schema.String,
    type: Schema.Int,
    peer: Schema.String,
  }),
  event('draining', {}),
  /** `left`: sockets of connections that did not end in time. */
  event('drained', { left: Schema.Int }),
]);
export type ZtunnelEvent = typeof ZtunnelEvent.Type;

/** The uids whose listeners are open after these events. */
export function servedAfter(events: readonly ZtunnelEvent[]): Set<string> {
  const served = new Set<string>();
  for (const event of events) {
    if (event.event === 'added') served.add(event.pod);
    if (event.event === 'removed' || event.event === 'dropped') served.delete(event.pod);
    if (event.event === 'draining') served.clear();
  }
  return served;
}
