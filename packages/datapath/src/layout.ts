// What the datapath consists of by name: its maps, its programs and the order in which they are attached, where they
// are pinned, and where the built object lies.
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';

/** Maps that outlive the agent: the pinned programs work on them. */
export const PINNED_MAPS = [
  'cgroup_info_map',
  'settings',
  'config',
  'netns_info_map',
  'local_pods',
  'pod_addresses',
  'port_rules',
  'excluded_cidrs',
  'included_cidrs',
  'socket_origin',
  'datagram_askers',
  'pending_origin',
  'socket_exemption',
  'exempt_tuples',
  'ztunnel_sockets',
  'listeners',
  'decisions',
  'counters',
  'inbound_counters',
  'events',
] as const;
export type MapName = (typeof PINNED_MAPS)[number];

/** Maps whose capacity is configuration, with the name that the configuration gives it. */
export interface Capacities {
  readonly cgroup_info_map?: number;
  readonly netns_info_map?: number;
  readonly local_pods?: number;
  /** As many as `local_pods` if left out: a pod has at least one IP. */
  readonly pod_addresses?: number;
  readonly port_rules?: number;
  readonly excluded_cidrs?: number;
  /** As many as `excluded_cidrs` if left out. */
  readonly included_cidrs?: number;
  readonly pending_origin?: number;
  /** Connections past the inbound capture (probes, what ztunnel dials in a pod) that have not been accepted yet. */
  readonly exempt_tuples?: number;
}

/** A program and the attach type that the kernel lists it under (bpftool's names). */
export interface ProgramPlace {
  readonly program: string;
  readonly attachType: string;
}

/**
 * In the order of attachment: sendmsg and connect come last, so that nothing is sent elsewhere before the programs that
 * carry and answer its original destination are there. Cleanup goes the other way.
 */
export const PROGRAMS: readonly ProgramPlace[] = [
  { program: 'sluice_getsockopt', attachType: 'cgroup_getsockopt' },
  { program: 'sluice_sockops', attachType: 'cgroup_sock_ops' },
  { program: 'sluice_getpeername4', attachType: 'cgroup_inet4_getpeername' },
  { program: 'sluice_getpeername6', attachType: 'cgroup_inet6_getpeername' },
  { program: 'sluice_bind4', attachType: 'cgroup_inet4_bind' },
  { program: 'sluice_bind6', attachType: 'cgroup_inet6_bind' },
  { program: 'sluice_getsockname4', attachType: 'cgroup_inet4_getsockname' },
  { program: 'sluice_getsockname6', attachType: 'cgroup_inet6_getsockname' },
  { program: 'sluice_recvmsg4', attachType: 'cgroup_udp4_recvmsg' },
  { program: 'sluice_recvmsg6', attachType: 'cgroup_udp6_recvmsg' },
  { program: 'sluice_sendmsg4', attachType: 'cgroup_udp4_sendmsg' },
  { program: 'sluice_sendmsg6', attachType: 'cgroup_udp6_sendmsg' },
  { program: 'sluice_connect4', attachType: 'cgroup_inet4_connect' },
  { program: 'sluice_connect6', attachType: 'cgroup_inet6_connect' },
];

/**
 * On the ingress of a pod's loopback, by tc and not by a link of ours: whoever sets the pod's namespace up attaches it
 * there together with the rule, the route and the sysctl that go with it.
 */
export const LOOPBACK_PROGRAM = 'sluice_loopback';

/** In the network namespace of each pod that has its own ztunnel: an instance of its own, by a link of ours. */
export const INBOUND_PROGRAM = 'sluice_inbound';

/** The objects built from bpf/, copied beside the compiled package so that they ship with it. */
export const OBJECT_PATH = fileURLToPath(new URL('../dist/sluice.bpf.o', import.meta.url));

export const INBOUND_OBJECT_PATH = fileURLToPath(new URL('../dist/inbound.bpf.o', import.meta.url));

export const mapsDirectory = (pinDirectory: string): string => join(pinDirectory, 'maps');
export const linksDirectory = (pinDirectory: string): string => join(pinDirectory, 'links');
export const mapPin = (pinDirectory: string, map: MapName): string => join(mapsDirectory(pinDirectory), map);
export const linkPin = (pinDirectory: string, program: string): string => join(linksDirectory(pinDirectory), program);

const NETNS_LINK = /^netns-(\d+)$/;

export const netnsLinkPin = (pinDirectory: string, cookie: bigint): string =>
  join(linksDirectory(pinDirectory), `netns-${cookie}`);

/** The inverse of {@link netnsLinkPin} for a file name; undefined if it is of something else. */
export function netnsCookieOf(name: string): bigint | undefined {
  const [, cookie] = NETNS_LINK.exec(name) ?? [];
  return cookie === undefined ? undefined : BigInt(cookie);
}
