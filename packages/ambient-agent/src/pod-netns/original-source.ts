// Lets ztunnel dial the application of a pod from the client's own address. This is the plumbing of the pod's network
// namespace that brings the answers back to ztunnel.
//
// ztunnel's packets carry the mark 0x539. A filter on the loopback's ingress turns the mark into 0x111. The accepted socket
// takes that mark (tcp_fwmark_accept), resets and ICMP errors reflect it (fwmark_reflect), and a rule sends packets with
// it to the loopback again, whatever their address. Istio does the same with netfilter's connection marks.
import {
  addRoute,
  addRule,
  attachTc,
  deleteRoute,
  deleteRule,
  detachTc,
  readSysctl,
  routes,
  rules,
  SystemCallError,
  writeSysctl,
  type Netns,
  type TcAttached,
} from '@sluice/linux';
import * as Schema from 'effect/Schema';
import {
  DEVICE,
  FAMILIES,
  FILTER,
  FILTER_NAME,
  foreignFilter,
  hasFilter,
  isRoute,
  isRule,
  loopbackDown,
  MADE_BY_US,
  OFF,
  ON,
  partName,
  refuseForeign,
  routeOf,
  ruleOf,
  SYSCTLS,
  type Family,
} from './original-source-parts.js';

/** What this process or another needs to undo it later. Plain JSON. */
export const OriginalSourceMemory = Schema.Struct({
  /** The cookie of the namespace, in decimal. No two namespaces have the same one. */
  netnsCookie: Schema.String,
  /** The former values of the sysctls that were changed. */
  sysctls: Schema.Record(Schema.String, Schema.String),
  /** Whether somebody else made the filter's qdisc, so that it has to stay. */
  keepQdisc: Schema.Boolean,
});
export type OriginalSourceMemory = typeof OriginalSourceMemory.Type;

export interface OriginalSourceTarget {
  /** A mount of proc(5) with a writable sys/net, which a container's own is not. Default '/proc'. */
  readonly procPath?: string;
}

export interface OriginalSourceOptions extends OriginalSourceTarget {
  /** The tc program: `Datapath.loopbackFilterFd`. */
  readonly filterFd: number;
  /** If false, only IPv4; what an earlier call added for IPv6 is removed. */
  readonly ipv6: boolean;
  /** What an earlier call returned. */
  readonly memory?: OriginalSourceMemory | undefined;
}

/** `changed` names the parts that were missing or wrong. */
export interface OriginalSourceEnsured {
  readonly changed: readonly string[];
  readonly memory: OriginalSourceMemory;
}

/**
 * Adds the parts that are missing in the pod's namespace; may be repeated. Keep the memory, with which
 * {@link removeOriginalSource} restores the sysctls. If the memory is lost, a sysctl that is on beside our filter counts as changed by us.
 * @throws PlumbingConflict when something else is in the place of a part, or the loopback is down. SystemCallError
 * EPERM; EROFS when /proc/sys is read-only. Parts that were added before that stay, and the next call continues.
 */
export function ensureOriginalSource(netns: Netns, options: OriginalSourceOptions): OriginalSourceEnsured {
  const { filterFd, ipv6, procPath } = options;
  const families = ipv6 ? FAMILIES : FAMILIES.filter((family) => family !== 6);
  refuseForeign(netns, families);
  const known = memoryOf(netns, options.memory);
  const wasOurs = known !== undefined || hasFilter(netns);
  // The filter is the first part to be added and the last to be removed, so it shows whether the other parts may be ours.
  const { filter, qdisc } = attach(netns, filterFd);
  const changed = filter === 'present' ? [] : [FILTER_NAME];
  for (const family of FAMILIES)
    changed.push(...(families.includes(family) ? addFamily(netns, family) : removeFamily(netns, family)));
  const sysctls = { ...known?.sysctls };
  for (const { name, family } of SYSCTLS) {
    if (!families.includes(family)) {
      if (restore(netns, name, sysctls[name], procPath)) changed.push(name);
      delete sysctls[name];
      continue;
    }
    const before = readSysctl(netns, name, procOption(procPath));
    if (before === undefined && family === 6) continue; // a kernel without IPv6
    if (before !== ON) {
      writeSysctl(netns, name, ON, procOption(procPath));
      changed.push(name);
      sysctls[name] ??= before ?? OFF;
    } else if (known === undefined && wasOurs) {
      sysctls[name] = OFF;
    }
  }
  const keepQdisc = known?.keepQdisc ?? (qdisc === 'present' && !wasOurs);
  return { changed, memory: { netnsCookie: String(netns.cookie), sysctls, keepQdisc } };
}

/**
 * The parts that are missing, by the names that {@link ensureOriginalSource} reports. Changes nothing. Does not check whether the
 * filter is the newest program.
 */
export function checkOriginalSource(
  netns: Netns,
  { procPath, ipv6 }: OriginalSourceTarget & { readonly ipv6: boolean },
): readonly string[] {
  const read = (name: string): string | undefined => readSysctl(netns, name, procOption(procPath));
  // A loopback without IPv6 can have no IPv6 routes, and needs none.
  const families = FAMILIES.filter((family) => family === 4 || (ipv6 && read('net.ipv6.conf.lo.disable_ipv6') === OFF));
  const missing = hasFilter(netns) ? [] : [FILTER_NAME];
  const there = { rules: rules(netns), routes: routes(netns, routeOf(4).table) };
  for (const family of families) {
    if (!there.routes.some((listed) => isRoute(family, listed))) missing.push(partName('route', family));
    if (!there.rules.some((listed) => isRule(family, listed))) missing.push(partName('rule', family));
  }
  const isOff = ({ name, family }: (typeof SYSCTLS)[number]): boolean => families.includes(family) && read(name) !== ON;
  return [...missing, ...SYSCTLS.filter(isOff).map(({ name }) => name)];
}

/**
 * Removes what {@link ensureOriginalSource} added, and nothing else; may be repeated. A sysctl that was changed
 * again meanwhile stays as it is. Without a memory, sysctls are turned off if our filter is there.
 * @returns the parts that were removed
 * @throws SystemCallError EPERM; EROFS when /proc/sys is read-only.
 */
export function removeOriginalSource(
  netns: Netns,
  { procPath, memory }: OriginalSourceTarget & { readonly memory?: OriginalSourceMemory | undefined },
): readonly string[] {
  const known = memoryOf(netns, memory);
  const isOurs = hasFilter(netns);
  const changed = SYSCTLS.filter(({ name }) => {
    const before = known === undefined && isOurs ? OFF : known?.sysctls[name];
    return restore(netns, name, before, procPath);
  }).map(({ name }) => name);
  for (const family of FAMILIES) changed.push(...removeFamily(netns, family));
  const qdisc = known?.keepQdisc === true || (known === undefined && !isOurs) ? 'keep' : 'remove-if-empty';
  if (detachTc(netns, DEVICE, { ...FILTER, qdisc }).filter === 'deleted') changed.push(FILTER_NAME);
  return changed;
}

/** The memory, if it is about this namespace. */
function memoryOf({ cookie }: Netns, memory: OriginalSourceMemory | undefined): OriginalSourceMemory | undefined {
  return memory?.netnsCookie === String(cookie) ? memory : undefined;
}

function attach(netns: Netns, programFd: number): TcAttached {
  try {
    return attachTc(netns, DEVICE, { ...FILTER, programFd });
  } catch (error) {
    throw isCode(error, 'EEXIST') ? foreignFilter(netns) : error;
  }
}

function addFamily(netns: Netns, family: Family): string[] {
  // The route comes first, because a rule that leads to an empty table would let answers leave for the client.
  try {
    const route = addRoute(netns, routeOf(family)) === 'added' ? [partName('route', family)] : [];
    const rule = addRule(netns, ruleOf(family)) === 'added' ? [partName('rule', family)] : [];
    return [...route, ...rule];
  } catch (error) {
    throw isCode(error, 'ENETDOWN') ? loopbackDown(netns) : error;
  }
}

function removeFamily(netns: Netns, family: Family): string[] {
  const rule = deleteRule(netns, { ...ruleOf(family), protocol: MADE_BY_US });
  const route = deleteRoute(netns, { ...routeOf(family), protocol: MADE_BY_US });
  return [
    ...(rule === 'deleted' ? [partName('rule', family)] : []),
    ...(route === 'deleted' ? [partName('route', family)] : []),
  ];
}

/** Returns whether the sysctl was changed. */
function restore(netns: Netns, name: string, before: string | undefined, procPath: string | undefined): boolean {
  if (before === undefined || before === ON || readSysctl(netns, name, procOption(procPath)) !== ON) return false;
  return writeSysctl(netns, name, before, procOption(procPath)).changed;
}

const isCode = (error: unknown, code: string): boolean => error instanceof SystemCallError && error.code === code;

const procOption = (procPath: string | undefined): { procPath?: string } =>
  procPath === undefined ? {} : { procPath };
