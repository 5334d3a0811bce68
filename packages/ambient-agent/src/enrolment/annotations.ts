// Istio's ambient annotations on pods (istio.io/api/annotation), except those about traffic, which are in traffic-rules.ts.
import type { Pod } from '../inventory/model.js';
import { quoted } from './quoted.js';

export const BYPASS_INBOUND_ANNOTATION = 'ambient.istio.io/bypass-inbound-capture';
export const DNS_CAPTURE_ANNOTATION = 'ambient.istio.io/dns-capture';
export const REROUTE_ANNOTATION = 'istio.io/reroute-virtual-interfaces';

export interface AmbientAnnotations {
  /** Connections into the pod go to the application directly; those that it makes go through the mesh. */
  readonly bypassInbound: boolean;
  readonly dnsCapture: boolean;
  readonly problems: readonly string[];
}

const notSupported = `annotation ${REROUTE_ANNOTATION} is not supported: connections from a virtual machine's interface are forwarded without a connect() on this node, and go out without the mesh`;

/** Pure. A value that is neither true nor false counts as if the annotation did not exist. */
export function ambientAnnotations(pod: Pod, defaults: { readonly dnsCapture: boolean }): AmbientAnnotations {
  const problems: string[] = [];
  const flag = (annotation: string, otherwise: boolean): boolean => {
    if (!Object.hasOwn(pod.annotations, annotation)) return otherwise;
    const value = pod.annotations[annotation] ?? '';
    if (value === 'true' || value === 'false') return value === 'true';
    problems.push(`annotation ${annotation}: ${quoted(value)} is neither true nor false; it counts as ${otherwise}`);
    return otherwise;
  };
  const bypassInbound = flag(BYPASS_INBOUND_ANNOTATION, false);
  const dnsCapture = flag(DNS_CAPTURE_ANNOTATION, defaults.dnsCapture);
  if ((pod.annotations[REROUTE_ANNOTATION] ?? '').trim() !== '') problems.push(notSupported);
  return { bypassInbound, dnsCapture, problems };
}
