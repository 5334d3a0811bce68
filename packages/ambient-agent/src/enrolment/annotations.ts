// Istio's ambient annotations on pods (istio.io/api/annotation), but those about traffic: traffic-rules.ts has them.
import type { Pod } from '../inventory/model.js';

export const BYPASS_INBOUND_ANNOTATION = 'ambient.istio.io/bypass-inbound-capture';
export const DNS_CAPTURE_ANNOTATION = 'ambient.istio.io/dns-capture';
export const REROUTE_ANNOTATION = 'istio.io/reroute-virtual-interfaces';

export interface AmbientAnnotations {
  /** What comes in goes to the application directly; what it makes itself goes through the mesh. */
  readonly bypassInbound: boolean;
  readonly dnsCapture: boolean;
  readonly problems: readonly string[];
}

const notSupported = `annotation ${REROUTE_ANNOTATION} is not supported: what comes from a virtual machine's interface is forwarded, and no connect() of this node makes it; it goes out without the mesh`;

/** Pure. A value that is neither true nor false counts as if the annotation were not there. */
export function ambientAnnotations(pod: Pod, defaults: { readonly dnsCapture: boolean }): AmbientAnnotations {
  const problems: string[] = [];
  const flag = (annotation: string, otherwise: boolean): boolean => {
    if (!Object.hasOwn(pod.annotations, annotation)) return otherwise;
    const value = pod.annotations[annotation] ?? '';
    if (value === 'true' || value === 'false') return value === 'true';
    problems.push(`annotation ${annotation}: \`${value}\` is neither true nor false; it counts as ${otherwise}`);
    return otherwise;
  };
  const bypassInbound = flag(BYPASS_INBOUND_ANNOTATION, false);
  const dnsCapture = flag(DNS_CAPTURE_ANNOTATION, defaults.dnsCapture);
  if ((pod.annotations[REROUTE_ANNOTATION] ?? '').trim() !== '') problems.push(notSupported);
  return { bypassInbound, dnsCapture, problems };
}
