// Istio's traffic annotations: which ports and ranges of a workload go through the mesh and which do not. The same
// questions with the same answers as bpf/rules.h.
import { cidrContains } from './address.js';
import { WorkloadFlag, type CgroupInfo, type DesiredMaps, type TrafficRule } from './desired.js';

type Direction = 'outbound' | 'inbound';
type Action = TrafficRule['action'];

function hasPortRule(
  maps: DesiredMaps,
  { id }: CgroupInfo,
  direction: Direction,
  action: Action,
  port: number,
): boolean {
  return maps.rules.some(
    (rule) =>
      rule.kind === 'port' &&
      rule.workload === id &&
      rule.direction === direction &&
      rule.action === action &&
      rule.port === port,
  );
}

function hasCidrRule(maps: DesiredMaps, { id }: CgroupInfo, action: Action, ip: string): boolean {
  return maps.rules.some(
    (rule) => rule.kind === 'cidr' && rule.workload === id && rule.action === action && cidrContains(rule.cidr, ip),
  );
}

/** The flags that say which kinds of rules a workload has, by workload. */
export function ruleFlags(rules: readonly TrafficRule[]): Map<bigint, number> {
  const flags = new Map<bigint, number>();
  for (const rule of rules)
    flags.set(rule.workload, (flags.get(rule.workload) ?? 0) | WorkloadFlag.EXCLUDES | only(rule));
  return flags;
}

/** An included outbound port restricts nothing: it only adds to the included ranges. */
function only(rule: TrafficRule): number {
  if (rule.action === 'exclude') return 0;
  if (rule.kind === 'cidr') return WorkloadFlag.ONLY_INCLUDED_OUTBOUND;
  return rule.direction === 'inbound' ? WorkloadFlag.ONLY_INCLUDED_INBOUND : 0;
}

function isOnlyIncluded(maps: DesiredMaps, workload: CgroupInfo, flag: number): boolean {
  return ((workload.flags | (ruleFlags(maps.rules).get(workload.id) ?? 0)) & flag) !== 0;
}

/** Whether the port of an outbound connection is excluded, which wins over everything else. */
export function isExcludedPort(maps: DesiredMaps, workload: CgroupInfo, port: number): boolean {
  return hasPortRule(maps, workload, 'outbound', 'exclude', port);
}

/** Whether a range takes an outbound connection out of the mesh. `ip` is canonical text. */
export function isExcludedRange(maps: DesiredMaps, workload: CgroupInfo, ip: string, port: number): boolean {
  if (hasCidrRule(maps, workload, 'exclude', ip)) return true;
  if (!isOnlyIncluded(maps, workload, WorkloadFlag.ONLY_INCLUDED_OUTBOUND)) return false;
  return !hasPortRule(maps, workload, 'outbound', 'include', port) && !hasCidrRule(maps, workload, 'include', ip);
}

/** Whether a connection to a port of the workload goes to its application directly. */
export function isExcludedInbound(maps: DesiredMaps, workload: CgroupInfo, port: number): boolean {
  if (isOnlyIncluded(maps, workload, WorkloadFlag.ONLY_INCLUDED_INBOUND)) {
    return !hasPortRule(maps, workload, 'inbound', 'include', port);
  }
  return hasPortRule(maps, workload, 'inbound', 'exclude', port);
}
