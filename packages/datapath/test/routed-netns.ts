// The namespace of a pod that is captured by route: what the agent puts there, by the calls by which the agent does it.
import { execFileSync } from 'node:child_process';
import {
  addRoute,
  addRule,
  deleteRoute,
  deleteRule,
  type Netns,
  type PolicyRoute,
  type PolicyRule,
} from '@sluice/linux';
import { CaptureMark, type RoutedDevices } from '../src/index.js';

/** The table that marked connections are looked up in. */
export const ROUTE_TABLE = 101;
/** Priorities of the rule that looks there, and of the one behind it, which fails what the table does not take. */
const LOOKUP_PRIORITY = 1;
const UNREACHABLE_PRIORITY = 2;

const FAMILIES = [4, 6] as const;
const fwmark = { value: CaptureMark.ROUTE_MARK, mask: CaptureMark.ROUTE_MARK };

/** The loopback is for sockets that are bound to no device. A socket that is bound to one takes routes of that one only. */
interface Device {
  readonly name: string;
  /** 0 for the loopback. */
  readonly ifindex: number;
  /** The address from which its marked connections leave. */
  readonly source: Readonly<Record<4 | 6, string | undefined>>;
}

function devicesOf(netns: Netns): Device[] {
  const addresses = netns.addresses().filter(({ name, scope }) => name !== 'lo' && scope === 'global');
  const device = (name: string, ifindex: number, held: typeof addresses): Device => {
    const first = (family: 4 | 6): string | undefined => held.find((item) => item.family === family)?.address;
    return { name, ifindex, source: { 4: first(4), 6: first(6) } };
  };
  const names = [...new Set(addresses.map(({ name }) => name))];
  return [
    device('lo', 0, addresses),
    ...names.map((name) =>
      device(
        name,
        indexOf(netns, name),
        addresses.filter((item) => item.name === name),
      ),
    ),
  ];
}

function indexOf({ fd }: Netns, device: string): number {
  const argv = [`--net=/proc/${process.pid}/fd/${fd}`, 'ip', '-o', 'link', 'show', device];
  return Number.parseInt(execFileSync('nsenter', argv, { encoding: 'utf8' }));
}

/** One for each device and family; that of a family without any address leads nowhere. */
export function captureRoutes(netns: Netns): PolicyRoute[] {
  const devices = devicesOf(netns);
  return FAMILIES.flatMap((family): PolicyRoute[] => {
    const place = { family, table: ROUTE_TABLE, destination: 'default' } as const;
    const routes = devices.flatMap(({ name, source: { [family]: source } }, n) =>
      source === undefined ? [] : [{ ...place, type: 'local' as const, interface: name, source, metric: n + 1 }],
    );
    return routes.length > 0 ? routes : [{ ...place, type: 'unreachable' as const }];
  });
}

export const lookupRules: readonly PolicyRule[] = FAMILIES.map((family) => ({
  family,
  priority: LOOKUP_PRIORITY,
  fwmark,
  table: ROUTE_TABLE,
}));

export const unreachableRules: readonly PolicyRule[] = FAMILIES.map((family) => ({
  family,
  priority: UNREACHABLE_PRIORITY,
  fwmark,
  action: 'unreachable',
}));

/**
 * Routes first, and the rule that lets nothing out before the one that leads to them. Does nothing that is done already.
 * @returns what the agent says of the namespace with {@link Datapath.setRouted}
 */
export function prepareRouting(netns: Netns): RoutedDevices {
  for (const route of captureRoutes(netns)) addRoute(netns, route);
  for (const rule of [...unreachableRules, ...lookupRules]) addRule(netns, rule);
  const devices = devicesOf(netns);
  return new Map(
    devices.map(({ ifindex, source }) => [
      ifindex,
      // Without a device, a family that nobody has an address of is unreachable, and so prepared.
      { ipv4: ifindex === 0 || source[4] !== undefined, ipv6: ifindex === 0 || source[6] !== undefined },
    ]),
  );
}

export function undoRouting(netns: Netns): void {
  for (const rule of [...lookupRules, ...unreachableRules]) deleteRule(netns, rule);
  for (const route of captureRoutes(netns)) deleteRoute(netns, route);
}
