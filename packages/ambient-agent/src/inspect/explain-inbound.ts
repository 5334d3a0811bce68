// Why a connection into a pod goes where it goes, in `inPod` mode: evaluates the inbound table, row by row, on the pinned maps and
// listeners.
import { isIP } from 'node:net';
import {
  canonicalAddress,
  decideInbound,
  InstalledDatapath,
  NOT_IN_MESH,
  ZTUNNEL_INBOUND_PORT,
  ZTUNNEL_OUTBOUND_PORT,
  type InboundDecision,
} from '@sluice/datapath';
import type { AgentState } from '../state/state.js';
import { InspectError, noSuchPod } from './errors.js';

export interface InboundExplanation {
  readonly client: string;
  readonly pod: {
    readonly description: string;
    readonly ip: string;
    readonly port: number;
    readonly netnsCookie: string;
    /** The reason of the pod's state, in the agent's words. */
    readonly reason: string;
    /** Whether the inbound program is attached to the pod's namespace. */
    readonly isAttached: boolean;
  };
  readonly verdict: InboundDecision['verdict'];
  readonly decidedBy: InboundDecision['reason'];
  readonly rows: InboundDecision['rows'];
}

export interface PodPort {
  readonly namespace: string;
  readonly name: string;
  readonly port: number;
}

/** Parses `shop/cart:8080`; undefined if the text has another form. Pure. */
export function parsePodPort(text: string): PodPort | undefined {
  const [, namespace = '', name = '', digits = ''] = /^([^/:]+)\/([^/:]+):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  return name === '' || port < 1 || port > 65535 ? undefined : { namespace, name, port };
}

/** An address, or undefined. Pure. */
export function parseClient(text: string): string | undefined {
  return isIP(text) === 0 ? undefined : canonicalAddress(text);
}

/**
 * Explains the connection of a client that is not exempt, so neither a kubelet of this node nor ztunnel.
 * @param client canonical text
 * @throws InspectError, DatapathError not-installed
 */
export function explainInbound(state: AgentState, client: string, to: PodPort): InboundExplanation {
  const description = `pod ${to.namespace}/${to.name}`;
  const found = state.workloads.find(({ namespace, name }) => namespace === to.namespace && name === to.name);
  if (found === undefined) {
    throw new InspectError('no-such-pod', noSuchPod(`${to.namespace}/${to.name}`, state.node.name));
  }
  const ip = found.ips.find((one) => one.includes(':') === client.includes(':'));
  if (ip === undefined) {
    const message = `${description} has no IP of the family of ${client}: ${found.ips.join(', ') || 'none at all'}`;
    throw new InspectError('no-such-pod', message);
  }
  using installed = InstalledDatapath.open(state.node.pinDirectory);
  const netnsCookie = BigInt(found.netnsCookie ?? 0);
  const isAttached = installed.netnsLinks().some((link) => link.netnsCookie === netnsCookie);
  const listeners = [ZTUNNEL_OUTBOUND_PORT, ZTUNNEL_INBOUND_PORT].filter(
    (port) => installed.capturedListener(netnsCookie, port) !== undefined,
  );
  const maps = installed.read();
  const query = { netnsCookie, ip, port: to.port, clientIp: client, listeners, canHold: installed.canHold() };
  // Without the program, a connection goes as if no pod of the namespace were in the mesh.
  const netns = isAttached ? maps.netns : new Map([[netnsCookie, NOT_IN_MESH]]);
  const { verdict, reason, rows } = decideInbound({ ...maps, netns }, query);
  return {
    client,
    pod: {
      description,
      ip,
      port: to.port,
      netnsCookie: String(netnsCookie),
      reason: found.reason,
      isAttached,
    },
    verdict,
    decidedBy: reason,
    rows,
  };
}
