// What the datapath consists of by name: its maps, its programs and the order in which they are attached, where they
// are pinned, and where the built object lies.
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import type { BpfMap } from '@sluice/libbpf';
import { maps } from './generated/maps.js';
import { namesOf, recordOf } from './records.js';

export type MapName = keyof typeof maps;
/** Some of the open maps, by their names. */
export type Maps<Name extends MapName> = Readonly<Record<Name, BpfMap>>;

/** Every map outlives the agent, because the pinned programs work on it. */
export const PINNED_MAPS = namesOf(maps);

/** The capacities that can be configured, by their names in the configuration, and the maps that have them. */
export const CAPACITIES = {
  cgroups: ['cgroup_info_map'],
  netns: ['netns_info_map'],
  // A pod has at least one IP.
  localPods: ['local_pods', 'pod_addresses'],
  ownAddresses: ['own_addresses', 'routed_netns'],
  excludedPorts: ['port_rules'],
  excludedCIDRs: ['excluded_cidrs', 'included_cidrs'],
  // Pods whose cgroup or log directory the guard has seen.
  pods: ['expected_pods', 'pod_cgroups', 'expected_cgroups', 'reachable_pods'],
  // Redirected connections between SYN and acceptance, on the whole node.
  pendingConnections: ['origin_handoff'],
  // Connections past the inbound capture (probes, ztunnel's dials in a pod) that have not been accepted yet.
  exemptConnections: ['exempt_tuples'],
} as const satisfies Record<string, readonly MapName[]>;

/**
 * The maps of connections that are being made keep their size for as long as any program is attached. One program announces a connection and
 * another accepts it or sees its end, so that all have to have one map. A copy cannot stand for it: what one program writes and another
 * deletes at the moment of copying would stay for ever, and let a later connection with the same tuple past the capture.
 */
export const SIZES_STAY: readonly MapName[] = [...CAPACITIES.pendingConnections, ...CAPACITIES.exemptConnections];

/** Whether a changed capacity has to wait until no program is attached. */
export const isInForceLater = (capacity: keyof typeof CAPACITIES): boolean =>
  CAPACITIES[capacity].some((map) => SIZES_STAY.includes(map));

/** The most entries of each kind. */
export type Capacities = Readonly<Record<keyof typeof CAPACITIES, number>>;

/** The capacities of the maps unless others are configured: the numbers of bpf/maps.h. */
export const defaultCapacities: Capacities = recordOf(
  namesOf(CAPACITIES),
  (name) => maps[CAPACITIES[name][0]].maxEntries,
);

/**
 * In the order of attachment: sendmsg and connect come last, so that nothing is sent elsewhere before the programs that carry
 * and answer its original destination are there. Cleanup detaches them in the opposite order.
 */
export const PROGRAMS: readonly string[] = [
  'sluice_getsockopt',
  'sluice_sockops',
  'sluice_hold',
  'sluice_refuse4',
  'sluice_refuse6',
  'sluice_getpeername4',
  'sluice_getpeername6',
  'sluice_listen',
  'sluice_bind4',
  'sluice_bind6',
  'sluice_getsockname4',
  'sluice_getsockname6',
  'sluice_recvmsg4',
  'sluice_recvmsg6',
  'sluice_sendmsg4',
  'sluice_sendmsg6',
  'sluice_connect4',
  'sluice_connect6',
];

/** For the network namespace of each pod with its own ztunnel: an instance of its own, attached by a link of ours. */
export const INBOUND_PROGRAM = 'sluice_inbound';

/** The objects built from bpf/, copied beside the compiled package so that they ship with it. */
export const OBJECT_PATH = fileURLToPath(new URL('../dist/sluice.bpf.o', import.meta.url));

export const INBOUND_OBJECT_PATH = fileURLToPath(new URL('../dist/inbound.bpf.o', import.meta.url));

export const GUARD_OBJECT_PATH = fileURLToPath(new URL('../dist/guard.bpf.o', import.meta.url));

export const mapsDirectory = (pinDirectory: string): string => join(pinDirectory, 'maps');
export const linksDirectory = (pinDirectory: string): string => join(pinDirectory, 'links');
/** The links of the guard, which are attached to no cgroup and no namespace. */
export const guardDirectory = (pinDirectory: string): string => join(pinDirectory, 'guard');
export const mapPin = (pinDirectory: string, map: MapName): string => join(mapsDirectory(pinDirectory), map);

/** A link's name says what it attaches, and to which cgroup. */
export const linkPin = (pinDirectory: string, program: string, cgroupId: bigint): string =>
  join(linksDirectory(pinDirectory), `${program}-${cgroupId}`);

/** Where a link waits that is to take the place of another one. */
export const nextLinkPin = (pinDirectory: string, program: string, cgroupId: bigint): string =>
  `${linkPin(pinDirectory, program, cgroupId)}-next`;

// Earlier versions attached each program to one cgroup, and named its link by the program alone.
const CGROUP_LINK = /^([a-z]\w*)(?:-\d+(?:-next)?)?$/;

/** The program of which a file name is the pin of a link to a cgroup, if this version has it; otherwise undefined. */
export function programOf(name: string): string | undefined {
  const [, program = ''] = CGROUP_LINK.exec(name) ?? [];
  return PROGRAMS.includes(program) ? program : undefined;
}

const NETNS_LINK = /^netns-(\d+)$/;

export const netnsLinkName = (cookie: bigint): string => `netns-${cookie}`;

export const netnsLinkPin = (pinDirectory: string, cookie: bigint): string =>
  join(linksDirectory(pinDirectory), netnsLinkName(cookie));

/** The inverse of {@link netnsLinkPin} for a file name; undefined if it is the pin of something else. */
export function netnsCookieOf(name: string): bigint | undefined {
  const [, cookie] = NETNS_LINK.exec(name) ?? [];
  return cookie === undefined ? undefined : BigInt(cookie);
}

// BPF_OBJ_NAME_LEN of linux/bpf.h, which includes the NUL.
const NAME_LENGTH = 16;
/** A name as the kernel cuts it. */
export const nameInKernel = (program: string): string => program.slice(0, NAME_LENGTH - 1);
