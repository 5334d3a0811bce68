// Routes of a network namespace that lead to a device, without a gateway, or nowhere (ip-route(8)).
import { isIP } from 'node:net';
import { constants } from 'node:os';
import { SystemCallError, systemCall, unless } from './errors.js';
import { native } from './native.js';
import type { Netns } from './netns.js';
import type { NativeRoute } from './plumbing-native.js';
import { RTPROT_STATIC, withoutIpv6, type Added, type Deleted } from './policy-rules.js';

/** rtm_type of linux/rtnetlink.h, by name. */
const TYPES = [
  'unspec',
  'unicast',
  'local',
  'broadcast',
  'anycast',
  'multicast',
  'blackhole',
  'unreachable',
  'prohibit',
];
/** IP6_RT_PRIO_USER of the kernel's ip6_route.h: the metric of an IPv6 route that is added without one. */
const IPV6_DEFAULT_METRIC = 1024;

/** `type destination dev interface src source table n`, or `unreachable destination table n`. */
export type PolicyRoute = RoutePlace &
  (
    | {
        /** 'local': the packet is delivered on this machine, whatever its destination. */
        type: 'unicast' | 'local';
        interface: string;
        /** The source address of packets whose sender has not chosen one, in canonical text. The namespace has to hold it. */
        source?: string;
      }
    /** Whoever sends such a packet gets EHOSTUNREACH. */
    | { type: 'unreachable'; interface?: never; source?: never }
  );

interface RoutePlace {
  family: 4 | 6;
  /** Number of the routing table, 1 to 2^32-1. */
  table: number;
  /** 'default', or a network address in canonical text and a prefix length, such as '10.0.0.0/8' or 'fd66::/64'. */
  destination: string;
  /** The kernel's own default if left out: 0 for IPv4, 1024 for IPv6. */
  metric?: number;
  /** The origin, RTPROT_*. Without it, adding uses RTPROT_STATIC (4) and deleting accepts any. */
  protocol?: number;
}

/** A route as the kernel has it. */
export interface ListedRoute {
  family: 4 | 6;
  table: number;
  /** A name of ip-route(8), or the number if it has no name here. */
  type: string;
  /** 'default', or an address in canonical text and a prefix length. */
  destination: string;
  /** Empty if it leads to no device, or to one that has vanished meanwhile. IPv6's unreachable routes have the loopback. */
  interface: string;
  /** RTA_PREFSRC, in canonical text. */
  source?: string;
  metric: number;
  protocol: number;
  /** enum rt_scope_t of linux/rtnetlink.h (254: host); always 0 for IPv6. */
  scope: number;
  /** Names of what else the route has, for example 'via', 'metrics' or 'multipath'. */
  others: string[];
}

/** Every IPv4 and IPv6 route of one table; none if there is no such table. */
export function routes({ fd, path }: Netns, table: number): ListedRoute[] {
  return systemCall(() => native.netnsRoutes(fd, path, table)).map(listedRoute);
}

/**
 * Adds a route. 'present' if the same one exists already, whatever its origin; 'ipv6-disabled' also if the device has IPv6
 * switched off (net.ipv6.conf.*.disable_ipv6).
 * @throws SystemCallError EEXIST if another route to that destination is in the table, also the same one with another source;
 * ENODEV if there is no such device; ENETDOWN if it is down; EINVAL if the namespace does not hold the source, or holds it only
 * tentatively (IPv6); EPERM without CAP_NET_ADMIN.
 */
export function addRoute(netns: Netns, route: PolicyRoute): Added {
  checkRoute(route);
  return unless(
    (): Added => {
      change(netns, true, route, route.metric ?? 0, route.protocol ?? RTPROT_STATIC);
      return 'added';
    },
    (code) => {
      // EACCES: IPv6 is disabled on the device (fib6_nh_init of net/ipv6/route.c); without the capability it is EPERM.
      if (route.family === 6 && (withoutIpv6(code) || code === 'EACCES')) return 'ipv6-disabled';
      if (code !== 'EEXIST') return undefined;
      return routes(netns, route.table).some((listed) => sameRoute(route, listed)) ? 'present' : undefined;
    },
  );
}

/**
 * Deletes this very route and no other. The kernel deletes the first route that has at least what is asked for: if another one
 * stands before ours, nothing is deleted.
 * @throws SystemCallError EBUSY in that case; EPERM without CAP_NET_ADMIN.
 */
export function deleteRoute(netns: Netns, route: PolicyRoute): Deleted {
  checkRoute(route);
  const all = routes(netns, route.table);
  const ours = all.find(
    (listed) => sameRoute(route, listed) && (route.protocol === undefined || route.protocol === listed.protocol),
  );
  if (ours === undefined) return 'absent';
  if (all.find((listed) => kernelWouldTake(ours, listed)) !== ours) {
    const where = `${netns.path} (RTM_DELROUTE, ${route.destination} table ${route.table}, IPv${route.family})`;
    const object = `${where}: a similar route stands before it and would go in its place`;
    throw new SystemCallError({ errno: constants.errno.EBUSY, syscall: 'rtnetlink', object });
  }
  return unless(
    (): Deleted => {
      change(netns, false, route, ours.metric, ours.protocol);
      return 'deleted';
    },
    (code) => (code === 'ESRCH' || code === 'ENOENT' || code === 'ENODEV' ? 'absent' : undefined),
  );
}

/** Whether a listed route leads exactly where `route` says; its origin does not matter. */
export function sameRoute(route: PolicyRoute, listed: ListedRoute): boolean {
  return (
    listed.family === route.family &&
    listed.table === route.table &&
    listed.type === route.type &&
    listed.destination === textOf(route) &&
    (route.type === 'unreachable' || listed.interface === route.interface) &&
    listed.source === route.source &&
    listed.metric === (route.metric ?? (route.family === 6 ? IPV6_DEFAULT_METRIC : 0)) &&
    listed.others.length === 0
  );
}

/**
 * Whether the kernel may take `listed` when it is asked to delete `ours`: it compares what fib_table_delete() of
 * net/ipv4/fib_trie.c or ip6_route_del() of net/ipv6/route.c compares, or less.
 */
function kernelWouldTake(ours: ListedRoute, listed: ListedRoute): boolean {
  const isAlike =
    listed.family === ours.family &&
    listed.destination === ours.destination &&
    listed.protocol === ours.protocol &&
    (ours.metric === 0 || listed.metric === ours.metric) &&
    (ours.type === 'unreachable' || listed.interface === '' || listed.interface === ours.interface);
  // IPv6 does not look at the type and the source, and IPv4 at the source only if there is one.
  if (ours.family === 6) return isAlike;
  return isAlike && listed.type === ours.type && (ours.source === undefined || listed.source === ours.source);
}

function listedRoute({ type, destination, prefixLength, ...rest }: NativeRoute): ListedRoute {
  return {
    ...rest,
    type: TYPES[type] ?? String(type),
    destination: prefixLength === 0 ? 'default' : `${destination}/${prefixLength}`,
  };
}

function change({ fd, path }: Netns, add: boolean, route: PolicyRoute, metric: number, protocol: number): void {
  const { family, table, interface: device = '', source = '' } = route;
  const { address, prefixLength } = destinationOf(route);
  const type = TYPES.indexOf(route.type);
  native.changeRoute(fd, path, add, family, table, type, address, prefixLength, device, metric, protocol, source);
}

function destinationOf({ family, destination }: PolicyRoute): { address: string; prefixLength: number } {
  const any = family === 4 ? '0.0.0.0' : '::';
  if (destination === 'default') return { address: any, prefixLength: 0 };
  const [address = '', length = ''] = destination.split('/');
  return { address, prefixLength: /^\d{1,3}$/.test(length) ? Number(length) : -1 };
}

function textOf(route: PolicyRoute): string {
  return destinationOf(route).prefixLength === 0 ? 'default' : route.destination;
}

function checkRoute(route: PolicyRoute): void {
  if (route.family !== 4 && route.family !== 6) throw new RangeError('family must be 4 or 6');
  const { type, source } = route;
  if (type !== 'unicast' && type !== 'local' && type !== 'unreachable')
    throw new RangeError("type must be 'unicast', 'local' or 'unreachable'");
  if ((type === 'unreachable') !== (route.interface === undefined) || (type === 'unreachable' && source !== undefined))
    throw new RangeError("interface must be left out for 'unreachable', as source, and for no other type");
  if (source !== undefined && isIP(source) !== route.family)
    throw new RangeError(`source must be an IPv${route.family} address`);
  const { address, prefixLength } = destinationOf(route);
  if (isIP(address) !== route.family || prefixLength < 0 || prefixLength > (route.family === 4 ? 32 : 128))
    throw new RangeError(`destination must be 'default' or an IPv${route.family} prefix such as 10.0.0.0/8`);
}
