// Which of a pod's traffic goes through the mesh, by Istio's traffic annotations and the node's own settings.
import { WorkloadFlag, type TrafficRule } from '@sluice/datapath';
import { rangeOf } from '../config/cidr.js';
import type { AgentConfig } from '../config/config.js';
import type { Pod } from '../inventory/model.js';
import { quoted } from './quoted.js';

/** Istio's annotations (istio.io/api/annotation), read as for sidecars. Comma-separated. */
const prefix = 'traffic.sidecar.istio.io/';
export const TRAFFIC_ANNOTATIONS = {
  excludeOutboundPorts: `${prefix}excludeOutboundPorts`,
  includeOutboundPorts: `${prefix}includeOutboundPorts`,
  excludeInboundPorts: `${prefix}excludeInboundPorts`,
  includeInboundPorts: `${prefix}includeInboundPorts`,
  excludeOutboundIPRanges: `${prefix}excludeOutboundIPRanges`,
  includeOutboundIPRanges: `${prefix}includeOutboundIPRanges`,
} as const;

export interface PodTraffic {
  readonly rules: readonly TrafficRule[];
  /** Flags for what rules cannot express: a list of what is included exists and is empty. */
  readonly flags: number;
  /** Values that were not understood; the other values apply. */
  readonly problems: readonly string[];
}

const MAX_PORT = 65535;
/** `*` in a list of what is included means everything, as without the annotation. */
const EVERYTHING = '*';

function portOf(text: string): number | undefined {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= MAX_PORT ? port : undefined;
}

interface Listed<A> {
  /** Sorted, each once; undefined if there is no such annotation, or if nothing in it was understood. */
  readonly values: readonly A[] | undefined;
  readonly hasEverything: boolean;
}

/** Reads the annotations of one pod, and collects what is wrong with them. */
class Annotations {
  readonly problems: string[] = [];
  readonly #pod: Pod;

  constructor(pod: Pod) {
    this.#pod = pod;
  }

  ports(annotation: string, isInclusion: boolean): Listed<number> {
    const { values, hasEverything } = this.#list(annotation, isInclusion, portOf, `a port (1 to ${MAX_PORT})`);
    return { values: values?.toSorted((a, b) => a - b), hasEverything };
  }

  ranges(annotation: string, isInclusion: boolean): Listed<string> {
    const { values, hasEverything } = this.#list(annotation, isInclusion, rangeOf, 'a CIDR such as 10.0.0.0/8');
    return { values: values?.toSorted(), hasEverything };
  }

  #list<A>(
    annotation: string,
    isInclusion: boolean,
    read: (text: string) => A | undefined,
    expected: string,
  ): Listed<A> {
    const { annotations } = this.#pod;
    if (!Object.hasOwn(annotations, annotation)) return { values: undefined, hasEverything: false };
    const parts = (annotations[annotation] ?? '')
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== '');
    const values = new Set<A>();
    let hasEverything = false;
    for (const part of parts) {
      if (isInclusion && part === EVERYTHING) {
        hasEverything = true;
        continue;
      }
      const value = read(part);
      if (value === undefined)
        this.problems.push(`annotation ${annotation}: ${quoted(part)} is not ${expected}; it is left out`);
      else values.add(value);
    }
    // A list of what is included that has only typing errors must not take the pod out of the mesh.
    const isUnderstood = parts.length === 0 || values.size > 0;
    return { values: isUnderstood ? [...values] : undefined, hasEverything };
  }
}

/**
 * Pure. `workload` is the pod-level cgroup id. By istio.io/docs/reference/config/annotations, an exclusion wins, included
 * outbound ports are captured whatever the address, and a list of what is included means nothing if it is empty, and everything if
 * it has `*`.
 */
export function podTraffic(pod: Pod, workload: bigint, everywhere: AgentConfig['exclude']): PodTraffic {
  const given = new Annotations(pod);
  const rules: TrafficRule[] = [];
  let flags = 0;
  const addPorts = (
    direction: 'outbound' | 'inbound',
    action: 'exclude' | 'include',
    ports: readonly number[],
  ): void => {
    for (const port of ports) rules.push({ kind: 'port', workload, direction, action, port });
  };
  const addRanges = (action: 'exclude' | 'include', ranges: readonly string[]): void => {
    for (const cidr of ranges) rules.push({ kind: 'cidr', workload, action, cidr });
  };

  const excludedPorts = given.ports(TRAFFIC_ANNOTATIONS.excludeOutboundPorts, false).values ?? [];
  addPorts(
    'outbound',
    'exclude',
    distinct([...everywhere.outboundPorts, ...excludedPorts], (a, b) => a - b),
  );
  addPorts('outbound', 'include', given.ports(TRAFFIC_ANNOTATIONS.includeOutboundPorts, true).values ?? []);
  const excludedRanges = given.ranges(TRAFFIC_ANNOTATIONS.excludeOutboundIPRanges, false).values ?? [];
  addRanges('exclude', distinct([...everywhere.outboundCIDRs, ...excludedRanges]));
  const ranges = given.ranges(TRAFFIC_ANNOTATIONS.includeOutboundIPRanges, true);
  if (!ranges.hasEverything && ranges.values !== undefined) {
    addRanges('include', ranges.values);
    if (ranges.values.length === 0) flags |= WorkloadFlag.ONLY_INCLUDED_OUTBOUND;
  }

  addPorts('inbound', 'exclude', given.ports(TRAFFIC_ANNOTATIONS.excludeInboundPorts, false).values ?? []);
  const inbound = given.ports(TRAFFIC_ANNOTATIONS.includeInboundPorts, true);
  if (!inbound.hasEverything && inbound.values !== undefined) {
    addPorts('inbound', 'include', inbound.values);
    if (inbound.values.length === 0) flags |= WorkloadFlag.ONLY_INCLUDED_INBOUND;
  }
  return { rules, flags, problems: given.problems };
}

function distinct<A>(values: readonly A[], compare?: (a: A, b: A) => number): A[] {
  return [...new Set(values)].sort(compare);
}
