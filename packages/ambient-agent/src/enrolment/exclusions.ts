// What a pod reaches without the mesh: Istio's traffic annotations and the node's own settings.
import { isIP } from 'node:net';
import { canonicalCidr, type TrafficRule } from '@sluice/datapath';
import type { AgentConfig } from '../config/config.js';
import type { Pod } from '../inventory/model.js';

/** Istio's annotations (istio.io/api/annotation), read for sidecars and here alike. Comma-separated. */
export const EXCLUDE_PORTS_ANNOTATION = 'traffic.sidecar.istio.io/excludeOutboundPorts';
export const EXCLUDE_RANGES_ANNOTATION = 'traffic.sidecar.istio.io/excludeOutboundIPRanges';
const includePortsAnnotation = 'traffic.sidecar.istio.io/includeOutboundPorts';

export interface PodExclusions {
  readonly rules: readonly TrafficRule[];
  /** Values that were not understood; the others apply. */
  readonly problems: readonly string[];
}

const MAX_PORT = 65535;

function listed(pod: Pod, annotation: string): string[] {
  const value = pod.annotations[annotation] ?? '';
  return value
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

/** A range, or one address, as canonical text; undefined when it is neither. Pure. */
export function rangeOf(text: string): string | undefined {
  const family = isIP(text);
  try {
    return canonicalCidr(family === 0 ? text : `${text}/${family === 4 ? 32 : 128}`);
  } catch {
    return undefined;
  }
}

/** Pure. `workload` is the pod-level cgroup id. */
export function podExclusions(pod: Pod, workload: bigint, everywhere: AgentConfig['exclude']): PodExclusions {
  const ports = new Set(everywhere.outboundPorts);
  const ranges = new Set(everywhere.outboundCIDRs);
  const problems: string[] = [];
  for (const part of listed(pod, EXCLUDE_PORTS_ANNOTATION)) {
    const port = /^\d{1,5}$/.test(part) ? Number(part) : 0;
    if (port >= 1 && port <= MAX_PORT) ports.add(port);
    else
      problems.push(
        `annotation ${EXCLUDE_PORTS_ANNOTATION}: \`${part}\` is not a port (1 to ${MAX_PORT}); it is left out`,
      );
  }
  for (const part of listed(pod, EXCLUDE_RANGES_ANNOTATION)) {
    const range = rangeOf(part);
    if (range === undefined)
      problems.push(
        `annotation ${EXCLUDE_RANGES_ANNOTATION}: \`${part}\` is not a CIDR such as 10.0.0.0/8; it is left out`,
      );
    else ranges.add(range);
  }
  if (Object.hasOwn(pod.annotations, includePortsAnnotation)) {
    problems.push(
      `annotation ${includePortsAnnotation} is not supported: every outbound port goes through the mesh but the excluded ones`,
    );
  }
  return {
    rules: [
      ...[...ports]
        .sort((a, b) => a - b)
        .map((port): TrafficRule => ({ kind: 'port', workload, direction: 'outbound', action: 'exclude', port })),
      ...[...ranges].sort().map((cidr): TrafficRule => ({ kind: 'cidr', workload, action: 'exclude', cidr })),
    ],
    problems,
  };
}
