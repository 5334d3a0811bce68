// BPF classifiers on a device of a network namespace, at the clsact hooks (tc-bpf(8)).
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { SystemCallError, systemCall, unless } from './errors.js';
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

export interface TcAttachment extends TcPlace {
  /** The descriptor of a loaded BPF program of type sched_cls. It is borrowed: the filter itself holds the program. */
  programFd: number;
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

/** `qdisc` is about the clsact that holds the filters: 'present' if it, or an ingress qdisc, existed already. */
export interface TcAttached {
  filter: 'added' | 'present' | 'replaced';
  qdisc: 'added' | 'present';
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
 * Attaches a program in direct-action mode to every packet of one direction, with a clsact qdisc if the device has none. If the
 * same program is at the same place the result is 'present'; another program under our name there is replaced in one step, so
 * that every packet meets one of them.
 * @throws SystemCallError EEXIST if another's filter has the priority and handle; EINVAL if the descriptor is not a sched_cls
 * program; ENODEV if there is no such device; EPERM without CAP_NET_ADMIN.
 */
export function attachTc(netns: Netns, device: string, attachment: TcAttachment): TcAttached {
  const qdisc = addClsact(netns, device);
  try {
    const add = (): TcAttached['filter'] => addFilter(netns, device, attachment);
    // Another process may have done the same first: then try once more.
    return { filter: unless(add, (code) => (code === 'EEXIST' ? add() : undefined)), qdisc };
  } catch (error) {
    if (qdisc === 'added') removeClsactIfEmpty(netns, device);
    throw error;
  }
}

/**
 * Removes the filter of this name at this place; then the clsact qdisc, if it has no filter left in either direction. `qdisc:
 * 'keep'` leaves it even then: for a caller who knows that another made it (`attachTc` returned 'present'). A filter that
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

function addClsact({ fd, path }: Netns, device: string): 'added' | 'present' {
  return unless(
    (): 'added' | 'present' => {
      native.changeClsact(fd, path, device, true);
      return 'added';
    },
    // The older ingress qdisc is at the same place, and holds the filters of its direction as well.
    (code) => (code === 'EEXIST' ? 'present' : undefined),
  );
}

function addFilter(netns: Netns, device: string, attachment: TcAttachment): TcAttached['filter'] {
  const { programFd, direction = 'ingress', name, priority, handle } = attachment;
  const there = list(netns, device, direction).find((filter) => isAt(attachment, filter));
  if (there !== undefined && !isOurs(attachment, there)) throw occupied(netns, device, attachment);
  if (there !== undefined && there.directAction && there.programId === programIdOf(programFd)) return 'present';
  const change = there === undefined ? 'add' : 'replace';
  const egress = direction === 'egress';
  const { fd, path } = netns;
  systemCall(() => native.changeTcFilter(fd, path, device, egress, change, priority, handle, programFd, name));
  return there === undefined ? 'added' : 'replaced';
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
      native.changeClsact(netns.fd, netns.path, device, false);
      return 'deleted';
    },
    (code) => (code === 'ENOENT' || code === 'EINVAL' ? 'absent' : undefined),
  );
}

function deleteFilter(
  { fd, path }: Netns,
  device: string,
  direction: TcDirection,
  priority: number,
  handle: number,
): void {
  unless(
    () => {
      native.changeTcFilter(fd, path, device, direction === 'egress', 'delete', priority, handle);
      return true;
    },
    (code) => (code === 'ENOENT' ? true : undefined),
  );
}

/** The kernel's number of the program behind a descriptor of this process; undefined if it is not a program. */
function programIdOf(fd: number): number | undefined {
  const id = /^prog_id:\t(\d+)$/m.exec(fdInfo(fd))?.[1];
  return id === undefined ? undefined : Number(id);
}

function fdInfo(fd: number): string {
  try {
    return readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8');
  } catch {
    return ''; // a descriptor that is not open: the kernel's error names it
  }
}

function occupied({ path }: Netns, device: string, { priority, handle }: TcPlace): SystemCallError {
  const object = `${path} (RTM_NEWTFILTER, ${device}, priority ${priority}, handle ${handle})`;
  return new SystemCallError({ errno: constants.errno.EEXIST, syscall: 'rtnetlink', object });
}
