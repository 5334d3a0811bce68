// Lets ztunnel dial the application of its pod from the client's own address: what has to be in the pod's network
// namespace so that the answers come back to ztunnel.
//
// ztunnel's packets carry the mark 0x539. A filter on the loopback's ingress turns it into 0x111; the accepted socket
// takes that over (tcp_fwmark_accept), resets and ICMP errors reflect it (fwmark_reflect), and a rule sends what carries
// it to the loopback again, whatever address it is for. Istio does the same with netfilter's connection marks.
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

/** What is needed to undo it later, by this process or another: plain JSON. */
export const OriginalSourceMemory = Schema.Struct({
  /** The namespace that it is about, in decimal: a namespace's cookie is never given twice. */
  netnsCookie: Schema.String,
  /** The sysctls that were changed, and what they were. */
  sysctls: Schema.Record(Schema.String, Schema.String),
  /** Somebody else made the qdisc that the filter hangs from, so that it stays. */
  keepQdisc: Schema.Boolean,
});
export type OriginalSourceMemory = typeof OriginalSourceMemory.Type;

export interface OriginalSourceTarget {
  /** A mount of proc(5) whose sys/net can be written, which a container's own cannot. Default '/proc'. */
  readonly procPath?: string;
}

export interface OriginalSourceOptions extends OriginalSourceTarget {
  /** The tc program: `Datapath.loopbackFilterFd`. */
  readonly filterFd: number;
  /** False: IPv4 only; what an earlier call put for IPv6 is removed. */
  readonly ipv6: boolean;
  /** What an earlier call returned. */
  readonly memory?: OriginalSourceMemory | undefined;
}

/** `changed` names what was not as it had to be. */
export interface OriginalSourceEnsured {
  readonly changed: readonly string[];
  readonly memory: OriginalSourceMemory;
}

/**
 * Puts in the pod's namespace what is not there. Any number of times. Keep the memory: with it, removing gives the
 * sysctls back what they were. Where it was lost, a sysctl that is on beside a filter of ours counts as our doing.
 * @throws PlumbingConflict when something else is at the place of a part, or the loopback is down. SystemCallError
 * EPERM; EROFS when /proc/sys is read-only. What was put before that stays, and the next call goes on from there.
 */
export function ensureOriginalSource(netns: Netns, options: OriginalSourceOptions): OriginalSourceEnsured {
  const { filterFd, ipv6, procPath } = options;
  const families = ipv6 ? FAMILIES : FAMILIES.filter((family) => family !== 6);
  refuseForeign(netns, families);
  const known = memoryOf(netns, options.memory);
  const wasOurs = known !== undefined || hasFilter(netns);
  // The filter is the first to come and the last to go: while it is there, the rest is Sluice's business.
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
 * What of it is missing, by the names that {@link ensureOriginalSource} reports. Changes nothing. Whether the filter is
 * the newest program is not looked at.
 */
export function checkOriginalSource(
  netns: Netns,
  { procPath, ipv6 }: OriginalSourceTarget & { readonly ipv6: boolean },
): readonly string[] {
  const read = (name: string): string | undefined => readSysctl(netns, name, procOption(procPath));
  // Where the loopback has no IPv6 there are no routes for it, and nothing to steer either.
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
 * Takes away what {@link ensureOriginalSource} put, and nothing else. Any number of times. A sysctl that was changed
 * again meanwhile stays as it is. Without a memory, sysctls go off if a filter of ours is there.
 * @returns what was taken away
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

/** What is remembered of another namespace says nothing about this one. */
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
  // The route first: a rule that leads to an empty table would let answers leave for the client.
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

/** Whether it was changed. */
function restore(netns: Netns, name: string, before: string | undefined, procPath: string | undefined): boolean {
  if (before === undefined || before === ON || readSysctl(netns, name, procOption(procPath)) !== ON) return false;
  return writeSysctl(netns, name, before, procOption(procPath)).changed;
}

const isCode = (error: unknown, code: string): boolean => error instanceof SystemCallError && error.code === code;

const procOption = (procPath: string | undefined): { procPath?: string } =>
  procPath === undefined ? {} : { procPath };
