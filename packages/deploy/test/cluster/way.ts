// Where a connection has to go, by the decision table, and where it went.
import { APPLICATION_PORTS, ZTUNNEL_PORTS, type DialResult, type Hop, type LivePod } from '@sluice/testbed';

/** An end of a connection: a pod, and whether it is in the mesh. */
export interface Party {
  readonly pod: LivePod;
  readonly isMeshed: boolean;
}

const nameOf = ({ metadata }: LivePod): string => `${metadata.namespace}/${metadata.name}`;

/** ip:port of the application in a pod. */
export const addressOf = ({ status }: LivePod): string => `${status.podIP}:${APPLICATION_PORTS.application}`;

/** @param from undefined: a process of the node that is not the kubelet */
export function expectedWay(from: Party | undefined, to: Party): string[] {
  const application = `${nameOf(to.pod)} accepts at ${APPLICATION_PORTS.application}`;
  const isSelf = from?.pod.metadata.uid === to.pod.metadata.uid;
  if (isSelf) return [application];
  const ztunnel = (port: number, whose: LivePod): string =>
    `ztunnel accepts at ${port} in ${whose.metadata.uid}, for ${addressOf(to.pod)}`;
  return [
    ...(from?.isMeshed === true ? [ztunnel(ZTUNNEL_PORTS.outbound, from.pod)] : []),
    // The stand-in continues in plain text; a real ztunnel would speak HBONE to 15008.
    ...(to.isMeshed ? [ztunnel(ZTUNNEL_PORTS.inbound, to.pod)] : []),
    application,
  ];
}

/** @param result undefined if there was none */
export function wayOf(result: DialResult | undefined): string[] {
  if (result === undefined) return ['not dialled'];
  return result.error === '' ? result.hops.map(inWords) : [`${result.error}, for ${result.to}`];
}

function inWords({ by, port, pod, originalDst, error }: Hop): string {
  if (originalDst === undefined) return `${by} accepts at ${port}`;
  return `ztunnel accepts at ${port} in ${pod}, for ${originalDst}${error === undefined ? '' : `, and fails: ${error}`}`;
}
