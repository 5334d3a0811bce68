// What the stand-in ztunnel reports of itself in inPod mode, beside the connections that it accepts.

export type ZtunnelEvent =
  /** Hello has been sent. */
  | { readonly event: 'connected' }
  /** It connects again by itself, and keeps what it has meanwhile. */
  | { readonly event: 'disconnected'; readonly reason: string }
  | {
      readonly event: 'added';
      readonly pod: string;
      readonly name: string;
      readonly namespace: string;
      readonly serviceAccount: string;
      /** The inode of the namespace. */
      readonly netns: number;
    }
  /** An Add for a namespace that it serves already. */
  | { readonly event: 'unchanged'; readonly pod: string }
  /** An Add that it refused, for want of a listener; it tries again every 5 s. */
  | { readonly event: 'refused'; readonly pod: string; readonly reason: string }
  | { readonly event: 'retried'; readonly pod: string }
  | { readonly event: 'kept'; readonly pod: string }
  | { readonly event: 'removed'; readonly pod: string }
  /** The snapshot did not name it. */
  | { readonly event: 'dropped'; readonly pod: string }
  | { readonly event: 'snapshot' }
  /** The snapshot is over and no refused Add is left to try again: ztunnel's pod would be Ready. */
  | { readonly event: 'ready' }
  /** It exits with status 1. */
  | { readonly event: 'protocol-error'; readonly reason: string }
  | {
      readonly event: 'query';
      readonly by: string;
      readonly pod?: string;
      readonly protocol: 'udp' | 'tcp';
      readonly name: string;
      readonly type: number;
      readonly peer: string;
    }
  | { readonly event: 'draining' }
  /** `left`: sockets of connections that had not ended in time. */
  | { readonly event: 'drained'; readonly left: number };

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
