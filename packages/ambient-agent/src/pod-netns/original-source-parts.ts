// The parts that original-source.ts adds to a pod's network namespace, and the conflicts with what is already there.
import {
  routes,
  rules,
  sameRoute,
  sameRule,
  tcFilters,
  type ListedRoute,
  type ListedRule,
  type Netns,
  type PolicyRoute,
  type PolicyRule,
  type TcPlace,
} from '@sluice/linux';
import { PlumbingConflict } from './plumbing-conflict.js';

export type Family = 4 | 6;
export const FAMILIES: readonly Family[] = [4, 6];

/** The mark, the table and the priority are istio-cni's (cni/pkg/iptables), so that whoever knows one knows the other. */
const TABLE = 100;
const PRIORITY = 32764;
const REPLY_MARK = { value: 0x111, mask: 0xfff };

export const ruleOf = (family: Family): PolicyRule => ({
  family,
  priority: PRIORITY,
  table: TABLE,
  fwmark: REPLY_MARK,
});
export const routeOf = (family: Family): PolicyRoute => ({
  family,
  table: TABLE,
  type: 'local',
  destination: 'default',
  interface: 'lo',
});

/** RTPROT_STATIC, which addRule and addRoute write; only rules and routes with it are removed again. */
export const MADE_BY_US = 4;

export const DEVICE = 'lo';
/** It runs before filters with higher numbers, and beside others of its priority. */
export const FILTER: TcPlace = { name: 'sluice_lo', priority: 1, handle: 0x539 };

export interface Sysctl {
  readonly name: string;
  readonly family: Family;
}

/**
 * tcp_fwmark_accept is one switch for both families (inet_request_mark() of the kernel's inet_sock.h). Without
 * fwmark_reflect, the refusal of a closed port would leave for the client, and ztunnel would wait for its timeout.
 */
export const SYSCTLS: readonly Sysctl[] = [
  { name: 'net.ipv4.tcp_fwmark_accept', family: 4 },
  { name: 'net.ipv4.fwmark_reflect', family: 4 },
  { name: 'net.ipv6.fwmark_reflect', family: 6 },
];
/** The value of each of them in a new network namespace. */
export const OFF = '0';
export const ON = '1';

/** The names of parts, as they are reported. */
export const partName = (part: 'rule' | 'route', family: Family): string => `IPv${family} ${part}`;
export const FILTER_NAME = 'filter';

export const hasFilter = (netns: Netns): boolean =>
  tcFilters(netns, DEVICE).some(({ handle, bpf }) => handle === FILTER.handle && bpf?.name === FILTER.name);
export const isRule = (family: Family, listed: ListedRule): boolean => sameRule(ruleOf(family), listed);
export const isRoute = (family: Family, listed: ListedRoute): boolean => sameRoute(routeOf(family), listed);

/**
 * Another rule with our priority could be used instead of ours, and another route in our table would lead answers away.
 * @throws PlumbingConflict
 */
export function refuseForeign(netns: Netns, families: readonly Family[]): void {
  const rule = rules(netns).find(
    (listed) =>
      families.includes(listed.family) && listed.priority === PRIORITY && !FAMILIES.some((one) => isRule(one, listed)),
  );
  if (rule !== undefined)
    throw inTheWay('rule', `the IPv${rule.family} rule "${textOfRule(rule)}" has the priority that Sluice uses`, netns);
  const route = routes(netns, TABLE).find(
    (listed) => families.includes(listed.family) && !FAMILIES.some((one) => isRoute(one, listed)),
  );
  if (route !== undefined)
    throw inTheWay(
      'route',
      `the IPv${route.family} route "${textOfRoute(route)}" is in the table that Sluice uses`,
      netns,
    );
}

/** The conflict when the kernel says that the filter's place is taken. */
export function foreignFilter(netns: Netns): PlumbingConflict {
  const listed = tcFilters(netns, DEVICE).find(({ priority }) => priority === FILTER.priority);
  const whose = listed?.bpf?.name ?? listed?.kind ?? 'another filter';
  return inTheWay('filter', `"${whose}" is a filter of the loopback at the place that Sluice uses`, netns);
}

export function loopbackDown({ path }: Netns): PlumbingConflict {
  const message =
    `the loopback of the pod’s network namespace ${path} is down, so that ztunnel cannot reach the application; ` +
    'the container runtime or a network plugin brings it up (ip link set lo up)';
  return new PlumbingConflict({ part: 'loopback', message });
}

function inTheWay(part: 'rule' | 'route' | 'filter', what: string, { path }: Netns): PlumbingConflict {
  const remedy = 'remove it, or keep the pod out of the mesh (istio.io/dataplane-mode: none)';
  return new PlumbingConflict({ part, message: `in the pod’s network namespace ${path}, ${what}; ${remedy}` });
}

function textOfRule({ priority, fwmark, action, table, others }: ListedRule): string {
  const mark = fwmark === undefined ? '' : ` fwmark 0x${fwmark.value.toString(16)}/0x${fwmark.mask.toString(16)}`;
  const further = others.length === 0 ? '' : ` (${others.join(', ')})`;
  return `priority ${priority}${mark}${further}${action === 'lookup' ? ` lookup ${table}` : ` ${action}`}`;
}

function textOfRoute({ type, destination, interface: device, source, table }: ListedRoute): string {
  return `${type} ${destination}${device === '' ? '' : ` dev ${device}`}${source === undefined ? '' : ` src ${source}`} table ${table}`;
}
