// How often a connection that waits for ztunnel sends its SYN again.

/** Until the first one, in milliseconds. Each further one takes twice as long, to spare a pod with many that wait. */
const FIRST_MS = 48;
/** The kernel waits no longer than this between two (TCP_RTO_MAX of include/net/tcp.h). */
const LONGEST_MS = 120_000;
/** MAX_TCP_SYNCNT of include/net/tcp.h. */
const MOST = 127;

export interface Retransmission {
  /** In jiffies. */
  readonly first: number;
  /** How many SYNs are sent again. */
  readonly times: number;
}

/**
 * For connections that are to wait at least so long. Linux 6.5 and newer sends some more, and the first few at the same distance
 * (`tcp_syn_linear_timeouts`). `jiffy`: its length in microseconds.
 */
export function retransmission(waitMs: number, jiffy: number): Retransmission {
  const first = Math.max(1, Math.round((FIRST_MS * 1000) / jiffy));
  let timeout = (first * jiffy) / 1000;
  let times = 0;
  for (let waited = timeout; waited < waitMs && times < MOST; times++) {
    timeout = Math.min(2 * timeout, LONGEST_MS);
    waited += timeout;
  }
  return { first, times: Math.max(1, times) };
}
