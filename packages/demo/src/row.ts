// One line of the demo: a connection that was made, what ought to have happened to it, and what did.
import type { DialResult, LoadSummary } from '@sluice/testbed';

/** How a connection ought to go. */
export type Expectation =
  /** Straight to the application. */
  | { readonly kind: 'direct'; readonly application: string }
  /** To ztunnel's port, which reads the original destination and passes it on to the application. */
  | { readonly kind: 'mesh'; readonly port: 15001 | 15006; readonly application: string };

export interface Row {
  readonly what: string;
  readonly from: string;
  readonly to: string;
  /** Which process accepted the connection, and on which port. */
  readonly acceptedBy: string;
  readonly port: number | undefined;
  /** The original destination that ztunnel read; only if ztunnel accepted. */
  readonly originalDst: string | undefined;
  /** What the application sees as its peer (getpeername). */
  readonly peerSeen: string;
  /** Which application answered in the end. */
  readonly answeredBy: string;
  readonly expected: string;
  /** How long the agent took to notice the change and act, in ms; only where a change was waited for. */
  readonly afterMs?: number;
  readonly ok: boolean;
}

/** `::ffff:10.0.0.1` in an endpoint is the IPv4 address to everyone but the socket itself. */
const unmapped = (endpoint: string): string => endpoint.replace(/^\[::ffff:([\d.]+)\]/, '$1');

export function rowOf(what: string, from: string, result: DialResult, expected: Expectation): Row {
  const [first] = result.hops;
  const last = result.hops.at(-1);
  const destination = unmapped(result.to);
  const viaMesh = first?.originalDst !== undefined;
  const asExpected =
    expected.kind === 'mesh'
      ? viaMesh && first.port === expected.port && first.originalDst === destination && last !== first
      : !viaMesh && unmapped(first?.local ?? '') === destination;
  return {
    what,
    from,
    to: result.to,
    acceptedBy: first === undefined ? `nobody (${result.error || result.readError || 'no answer'})` : (first.by ?? '-'),
    port: first?.port,
    originalDst: first?.originalDst,
    peerSeen: result.peername,
    answeredBy: last?.by ?? '-',
    expected:
      expected.kind === 'mesh' ? `ztunnel:${expected.port}, then ${expected.application}` : expected.application,
    ok: result.ok && asExpected && last?.by === expected.application && result.peername === result.to,
  };
}

/** A statement that was checked and is not one connection. */
export function factRow(what: string, from: string, found: string, expected: string, ok: boolean): Row {
  return {
    what: `${what}: ${found}`,
    from,
    to: '-',
    acceptedBy: '-',
    port: undefined,
    originalDst: undefined,
    peerSeen: '-',
    answeredBy: '-',
    expected,
    ok,
  };
}

/** What happened to a load that had to be captured all the time. */
export function loadRow(from: string, { attempts, redirected, direct, refused, errors }: LoadSummary): Row {
  return factRow(
    'the load meanwhile',
    from,
    `${attempts} connections: ${redirected} captured, ${direct} direct, ${refused} refused, ${errors} failed`,
    'all captured, none refused',
    attempts > 0 && redirected === attempts,
  );
}
