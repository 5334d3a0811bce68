// BPF classifiers on a device of a network namespace, at the clsact hooks (tc-bpf(8)): looks at them, and removes one.
import { systemCall, unless } from './errors.js';
import { native } from './native.js';
import type { Netns } from './netns.js';
import type { NativeTcFilter } from './plumbing-native.js';

export type TcDirection = 'ingress' | 'egress';

/** Where a filter is: no two filters of one direction have the same priority and handle. */
export interface TcPlace {
  /** The filter's name, which shows to whom it belongs; at most 255 bytes. */
  name: string;
  /** Filters run in the order of this number, 1 to 65535. */
  priority: number;
  /** Distinguishes the filters of one priority, 1 to 2^32-1. */
  handle: number;
  /** Default 'ingress'. */
  direction?: TcDirection;
}

/** A filter as the kernel has it. */
export interface TcFilter {
  kind: string;
  priority: number;
  handle: number;
  /** EtherType; 3 (ETH_P_ALL) is every packet. */
  protocol: number;
  chain: number;
  /** Only for kind 'bpf'. `tag` is the program's, in hexadecimal. */
  bpf?: { name: string; programId: number; tag: string; directAction: boolean };
}

export interface TcDetached {
  filter: 'deleted' | 'absent';
  qdisc: 'deleted' | 'kept' | 'absent';
}

/** TC_H_CLSACT, which is TC_H_INGRESS, of linux/pkt_sched.h: the parent of both kinds of qdisc. */
const CLSACT_PARENT = 0xffff_fff1;

/** The filters of one direction, in the order in which they run; none without a clsact or ingress qdisc. */
export function tcFilters(netns: Netns, device: string, direction: TcDirection = 'ingress'): TcFilter[] {
  return list(netns, device, direction).filter(isFilter).map(listedFilter);
}

/**
 * Removes the filter of this name at this place; then the clsact qdisc, if it has no filter left in either direction. `qdisc:
 * 'keep'` leaves it even then: for a caller who knows that another made it. A filter that
 * another adds between the check and the removal is lost with the qdisc; the kernel has no call that does both.
 * @throws SystemCallError EPERM without CAP_NET_ADMIN.
 */
export function detachTc(
  netns: Netns,
  device: string,
  place: TcPlace & { qdisc?: 'keep' | 'remove-if-empty' },
): TcDetached {
  const { direction = 'ingress', priority, handle } = place;
  return unless(
    (): TcDetached => {
      const there = list(netns, device, direction).some((filter) => isAt(place, filter) && isOurs(place, filter));
      if (there) deleteFilter(netns, device, direction, priority, handle);
      const qdisc = place.qdisc === 'keep' ? keptQdisc(netns, device) : removeClsactIfEmpty(netns, device);
      return { filter: there ? 'deleted' : 'absent', qdisc };
    },
    // The device is gone, with its filters.
    (code) => (code === 'ENODEV' ? { filter: 'absent', qdisc: 'absent' } : undefined),
  );
}

function list({ fd, path }: Netns, device: string, direction: TcDirection): NativeTcFilter[] {
  return systemCall(() => native.netnsTcFilters(fd, path, device, direction === 'egress'));
}

/** The kernel lists each priority's head before its filters; a head has no handle. */
const isFilter = (filter: NativeTcFilter): boolean => filter.handle !== 0;

/** Filters are added to chain 0, where packets come in. */
function isAt({ priority, handle }: TcPlace, filter: NativeTcFilter): boolean {
  return filter.priority === priority && filter.handle === handle && filter.chain === 0;
}

function isOurs({ name }: TcPlace, filter: NativeTcFilter): boolean {
  return filter.kind === 'bpf' && filter.programName === name;
}

function listedFilter(filter: NativeTcFilter): TcFilter {
  const { kind, priority, handle, protocol, chain, programName: name, programId, programTag: tag } = filter;
  const common = { kind, priority, handle, protocol, chain };
  return kind === 'bpf' ? { ...common, bpf: { name, programId, tag, directAction: filter.directAction } } : common;
}

function qdiscKind({ fd, path }: Netns, device: string): string | undefined {
  return systemCall(() => native.netnsQdiscs(fd, path, device)).find(({ parent }) => parent === CLSACT_PARENT)?.kind;
}

function keptQdisc(netns: Netns, device: string): 'kept' | 'absent' {
  return qdiscKind(netns, device) === undefined ? 'absent' : 'kept';
}

function removeClsactIfEmpty(netns: Netns, device: string): TcDetached['qdisc'] {
  const kind = qdiscKind(netns, device);
  if (kind === undefined) return 'absent';
  const occupied = list(netns, device, 'ingress').length > 0 || list(netns, device, 'egress').length > 0;
  if (kind !== 'clsact' || occupied) return 'kept';
  return unless(
    (): TcDetached['qdisc'] => {
      native.deleteClsact(netns.fd, netns.path, device);
      return 'deleted';
    },
    (code) => (code === 'ENOENT' || code === 'EINVAL' ? 'absent' : undefined),
  );
}

function deleteFilter(netns: Netns, device: string, direction: TcDirection, priority: number, handle: number): void {
  unless(
    () => {
      native.deleteTcFilter(netns.fd, netns.path, device, direction === 'egress', priority, handle);
      return true;
    },
    // Another caller has removed it meanwhile, or the qdisc with it.
    (code) => code === 'ENOENT' || (code === 'EINVAL' && qdiscKind(netns, device) === undefined) || undefined,
  );
}
