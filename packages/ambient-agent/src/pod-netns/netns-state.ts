// Adds, checks and removes what Sluice wants in a pod's network namespace (parts.ts), and nothing else.
import { isDeepStrictEqual } from 'node:util';
import type { RoutedDevices } from '@sluice/datapath';
import {
  addRoute,
  addRule,
  deleteRoute,
  deleteRule,
  errorCode,
  readSysctl,
  writeSysctl,
  type InterfaceAddress,
  type Netns,
} from '@sluice/linux';
import * as Schema from 'effect/Schema';
import { FILTER_NAME, hasOlderFilter, removeOlderFilter } from './older-filter.js';
import {
  EVERY_PART,
  MADE_BY_US,
  OFF,
  ON,
  partsOf,
  UNBOUND,
  type CaptureWay,
  type Family,
  type Part,
  type RoutePart,
  type RulePart,
  type SysctlPart,
  type WantedParts,
} from './parts.js';
import { inTheWay, loopbackDown } from './plumbing-conflict.js';
import { hasPart, oursAmong, seeRules, whatIsInTheWay, type SeenRules } from './seen-rules.js';
import { waysOf } from './sources.js';

/** What this process or another needs to undo it later. Plain JSON. */
export const StateMemory = Schema.Struct({
  /** The cookie of the namespace, in decimal. No two namespaces have the same one. */
  netnsCookie: Schema.String,
  /** The former values of the sysctls that were changed. */
  sysctls: Schema.Record(Schema.String, Schema.String),
  /**
   * Only of an older release, which put a tc filter on the loopback: whether somebody else made the qdisc of the filter, so that
   * it has to stay.
   */
  keepQdisc: Schema.optionalKey(Schema.Boolean),
});
export type StateMemory = typeof StateMemory.Type;

export interface StateTarget {
  /** A mount of proc(5) with a writable sys/net, which a container's own is not. Default '/proc'. */
  readonly procPath?: string;
}

/** How the pod's own connections are captured. */
export type WantedCapture =
  | { readonly by: 'rewrite' }
  /** @param podIps in the order of preference as the source of its connections */
  | { readonly by: 'route'; readonly podIps: readonly string[] };

export interface WantedState extends StateTarget {
  /** If false, only IPv4; what an earlier call added for IPv6 is removed. */
  readonly ipv6: boolean;
  readonly capture: WantedCapture;
}

export interface StateOptions extends StateTarget {
  /** What an earlier call returned. */
  readonly memory?: StateMemory | undefined;
  /** Called before a rule is removed without which a marked connection would go past ztunnel. */
  readonly beforeUncapture?: () => void;
}

export interface EnsuredState {
  /** The names of the parts that were missing or wrong. */
  readonly changed: readonly string[];
  readonly memory: StateMemory;
  /** Why the pod cannot be captured by route, in words: nothing was added for that. */
  readonly inTheWay: string | undefined;
  /** The ways whose marked connections reach ztunnel, or fail because the namespace has no address to send them from. */
  readonly routed: RoutedDevices;
  /** What is there now: what was wanted without what stands in the way, and without what this namespace cannot have. */
  readonly applied: WantedParts;
}

/**
 * What is wanted in this namespace as it is now.
 * @param addresses what the namespace holds
 */
export function wantedParts(
  netns: Netns,
  { ipv6, capture, procPath }: WantedState,
  addresses: readonly InterfaceAddress[],
): WantedParts {
  // A loopback without IPv6 can have no local IPv6 routes. Without the sysctl, the kernel has no IPv6 at all.
  const off = readSysctl(netns, 'net.ipv6.conf.lo.disable_ipv6', procOption(procPath));
  const families: readonly Family[] = ipv6 && off !== undefined ? [4, 6] : [4];
  const answers = families.filter((family) => family === 4 || off === OFF);
  if (capture.by === 'rewrite') return { answers, capture: [] };
  const devices = netns.devices();
  const ways = (family: Family): readonly CaptureWay[] =>
    answers.includes(family) ? waysOf(family, addresses, capture.podIps, devices) : [];
  return { answers, capture: families.map((family) => ({ family, ways: ways(family) })) };
}

/**
 * Adds the parts that are missing in the pod's namespace, and removes those of ours that are not wanted, and the filter of an
 * older release; may be repeated. Keep the memory, with which {@link removeState} restores the sysctls. If the memory is lost, a sysctl that is on beside a rule or a
 * route of ours counts as changed by us.
 * @throws PlumbingConflict when something else is in the place of a part that answers need, or the loopback is down.
 * SystemCallError EPERM; EROFS when /proc/sys is read-only. Parts that were added before that stay, and the next call continues.
 */
export function ensureState(netns: Netns, wanted: WantedParts, options: StateOptions): EnsuredState {
  const { procPath } = options;
  const seen = seeRules(netns);
  const conflict = whatIsInTheWay('answers', wanted.answers, seen);
  if (conflict !== undefined) throw inTheWay(conflict.part, conflict.what, netns);
  const obstacle = captureObstacle(seen, familiesOf(wanted.capture));
  const possible = obstacle === undefined ? wanted : { ...wanted, capture: [] };
  const parts = partsOf(possible);
  const ours = oursAmong(seen);
  const known = memoryOf(netns, options.memory);
  const hasFilter = known === undefined && hasOlderFilter(netns);
  const wasOurs = known !== undefined || ours.length > 0 || hasFilter;

  const changed = new Set<string>();
  const unwanted = ours.filter((part) => !parts.some((one) => isDeepStrictEqual(one, part)));
  if (unwanted.some(({ half, kind }) => half === 'capture' && kind === 'rule')) options.beforeUncapture?.();
  for (const part of unwanted.toReversed()) if (removePart(netns, part)) changed.add(part.name);
  const sysctls = { ...known?.sysctls };
  for (const { name } of EVERY_PART.filter(isSysctl)) {
    if (parts.some((part) => part.name === name)) continue;
    if (restore(netns, name, sysctls[name], procPath)) changed.add(name);
    delete sysctls[name];
  }
  const lacking: Part[] = [];
  for (const part of parts) {
    if (part.kind === 'sysctl') {
      const before = turnOn(netns, part.name, procPath);
      if (before !== ON) {
        changed.add(part.name);
        sysctls[part.name] ??= before;
      } else if (known === undefined && wasOurs) {
        sysctls[part.name] = OFF;
      }
      continue;
    }
    if (hasPart(seen, part)) continue;
    const added = addPart(netns, part);
    if (added === 'added') changed.add(part.name);
    if (added === 'ipv6-disabled' || added === 'no-device') lacking.push(part);
  }
  if (undoFilter(netns, known, hasFilter)) changed.add(FILTER_NAME);
  const applied = without(possible, lacking);
  return {
    changed: [...changed],
    memory: { netnsCookie: String(netns.cookie), sysctls },
    inTheWay: obstacle,
    routed: routedBy(applied),
    applied,
  };
}

/** A family without its rules or its first route has nothing. Pure. */
function without(wanted: WantedParts, lacking: readonly Part[]): WantedParts {
  const lacks = (half: Part['half'], of: Family): boolean =>
    lacking.some((part) => part.half === half && part.family === of && !isBound(part));
  const isThere = (family: Family, { ifindex }: CaptureWay): boolean =>
    !lacking.some((part) => part.kind === 'route' && part.family === family && part.ifindex === ifindex);
  return {
    answers: wanted.answers.filter((family) => !lacks('answers', family)),
    capture: wanted.capture
      .filter(({ family }) => !lacks('capture', family))
      .map(({ family, ways }) => ({ family, ways: ways.filter((way) => isThere(family, way)) })),
  };
}

const isBound = (part: Part): boolean => part.kind === 'route' && part.ifindex !== UNBOUND;

function routedBy({ capture }: WantedParts): RoutedDevices {
  const result = new Map<number, { ipv4: boolean; ipv6: boolean }>();
  for (const { family, ways } of capture) {
    const open = ways.filter(({ isSealed }) => isSealed !== true);
    for (const ifindex of [UNBOUND, ...open.map((way) => way.ifindex)]) {
      const families = result.get(ifindex) ?? { ipv4: false, ipv6: false };
      families[family === 4 ? 'ipv4' : 'ipv6'] = true;
      result.set(ifindex, families);
    }
  }
  return result;
}

/** The rules and routes that are missing. Pure. */
export const missingRules = (seen: SeenRules, wanted: WantedParts): readonly Part[] =>
  partsOf(wanted).filter((part) => part.kind !== 'sysctl' && !hasPart(seen, part));

/** Why a pod cannot be captured by route, in words: object, cause, remedy; undefined if it can be. Pure. */
export function captureObstacle(seen: SeenRules, families: readonly Family[]): string | undefined {
  const found = whatIsInTheWay('capture', families, seen);
  return found === undefined
    ? undefined
    : `in its network namespace, ${found.what}; remove it if the pod does not need it`;
}

/** The parts that are missing, by the names that {@link ensureState} reports. Changes nothing. */
export function checkState(netns: Netns, wanted: WantedParts, { procPath }: StateTarget): readonly string[] {
  const missing = missingRules(seeRules(netns), wanted);
  const off = partsOf(wanted)
    .filter(isSysctl)
    .filter(({ name }) => readSysctl(netns, name, procOption(procPath)) !== ON);
  return [...missing, ...off].map(({ name }) => name);
}

/** Whether there is anything in the namespace that only Sluice adds. */
export const isChanged = (netns: Netns): boolean => oursAmong(seeRules(netns)).length > 0 || hasOlderFilter(netns);

/** Whether rules of Sluice capture marked connections there. */
export const hasCaptureRules = (netns: Netns): boolean =>
  oursAmong(seeRules(netns)).some(({ half, kind }) => half === 'capture' && kind === 'rule');

/**
 * Removes what {@link ensureState} added, and nothing else; may be repeated. A sysctl that was changed again meanwhile stays as
 * it is. Without a memory, sysctls are turned off if anything of ours is there.
 * @returns the parts that were removed
 * @throws SystemCallError EPERM; EROFS when /proc/sys is read-only.
 */
export function removeState(
  netns: Netns,
  { procPath, memory }: StateTarget & { readonly memory?: StateMemory | undefined },
): readonly string[] {
  const known = memoryOf(netns, memory);
  const ours = oursAmong(seeRules(netns));
  const hasFilter = known === undefined && hasOlderFilter(netns);
  const isOurs = ours.length > 0 || hasFilter;
  const remove = (kind: 'rule' | 'route'): string[] =>
    ours
      .toReversed()
      .filter((part) => part.kind === kind && removePart(netns, part))
      .map(({ name }) => name);
  const changed = remove('rule');
  for (const { name } of EVERY_PART.filter(isSysctl)) {
    const before = known === undefined && isOurs ? OFF : known?.sysctls[name];
    if (restore(netns, name, before, procPath)) changed.push(name);
  }
  changed.push(...remove('route'));
  if (undoFilter(netns, known, hasFilter)) changed.push(FILTER_NAME);
  return changed;
}

/** What this release remembers says nothing of a qdisc, because it has removed the filter. Returns whether there was one. */
function undoFilter(netns: Netns, known: StateMemory | undefined, hasFilter: boolean): boolean {
  if (!hasFilter && known?.keepQdisc === undefined) return false;
  return removeOlderFilter(netns, known?.keepQdisc === true ? 'keep' : 'remove-if-empty');
}

/** The memory, if it is about this namespace. */
function memoryOf({ cookie }: Netns, memory: StateMemory | undefined): StateMemory | undefined {
  return memory?.netnsCookie === String(cookie) ? memory : undefined;
}

const familiesOf = (captured: WantedParts['capture']): readonly Family[] => captured.map(({ family }) => family);

/** 'no-device': it has gone or is down, so that no socket can be bound to it, or use it. */
function addPart(netns: Netns, part: RulePart | RoutePart): ReturnType<typeof addRule> | 'no-device' {
  try {
    return part.kind === 'rule' ? addRule(netns, part.rule) : addRoute(netns, part.route);
  } catch (error) {
    if (isBound(part) && NO_DEVICE.has(errorCode(error) ?? '')) return 'no-device';
    throw errorCode(error) === 'ENETDOWN' ? loopbackDown(netns) : error;
  }
}

const NO_DEVICE: ReadonlySet<string> = new Set(['ENODEV', 'ENETDOWN']);

/** Returns whether it was there. */
function removePart(netns: Netns, part: RulePart | RoutePart): boolean {
  const deleted =
    part.kind === 'rule'
      ? deleteRule(netns, { ...part.rule, protocol: MADE_BY_US })
      : deleteRoute(netns, { ...part.route, protocol: MADE_BY_US });
  return deleted === 'deleted';
}

/** The names of the sysctls that are not as they should be. @throws SystemCallError */
export const switchedOff = (netns: Netns, wanted: WantedParts, { procPath }: StateTarget): readonly string[] =>
  partsOf(wanted)
    .filter(isSysctl)
    .map(({ name }) => name)
    .filter((name) => readSysctl(netns, name, procOption(procPath)) !== ON);

const isSysctl = (part: Part): part is SysctlPart => part.kind === 'sysctl';

/** Returns what it was. */
const turnOn = (netns: Netns, name: string, procPath: string | undefined): string =>
  writeSysctl(netns, name, ON, procOption(procPath)).previous;

/** Returns whether the sysctl was changed. */
function restore(netns: Netns, name: string, before: string | undefined, procPath: string | undefined): boolean {
  if (before === undefined || before === ON || readSysctl(netns, name, procOption(procPath)) !== ON) return false;
  return writeSysctl(netns, name, before, procOption(procPath)).changed;
}

const procOption = (procPath: string | undefined): StateTarget => (procPath === undefined ? {} : { procPath });
