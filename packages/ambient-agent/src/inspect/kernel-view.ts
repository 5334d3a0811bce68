// Reads from the kernel everything about which an agent's state makes claims. Changes nothing; if a part is missing, the rest is
// still read.
import { statSync } from 'node:fs';
import { CgroupResolver } from '@sluice/cgroup-resolver';
import {
  compareMaps,
  readGuard,
  readInboundLinks,
  readListeners,
  readLinks,
  readNetnsLinks,
  readPrograms,
  readRoutedNetns,
  whyNotPinned,
  ZTUNNEL_INBOUND_PORT,
  ZTUNNEL_OUTBOUND_PORT,
  type AttachedProgram,
  type EntryDifference,
  type GuardLink,
  type InboundLink,
  type InstalledLink,
  type InstalledNetnsLink,
  type PinnedMap,
  type RoutedDevices,
} from '@sluice/datapath';
import { Netns, netnsCookie, NetnsGoneError } from '@sluice/linux';
import { messageOf } from '../failure/message-of.js';
import { checkState, wantedParts } from '../pod-netns/netns-state.js';
import type { ClaimedNetns, Claims } from './claims.js';

/** How the network namespace that a pod's processes show compares with the one that the agent says is the pod's. */
export type SeenNetns =
  /** `missing` has the parts of the plumbing that ought to be there and are not. */
  | { readonly kind: 'same'; readonly inode: bigint; readonly missing: readonly string[] }
  | { readonly kind: 'other'; readonly cookie: bigint }
  /** No process of the pod is in a namespace that holds one of its IPs. */
  | { readonly kind: 'none' }
  | { readonly kind: 'unchecked'; readonly why: string };

export interface KernelView {
  /** Why nothing that is pinned can be read. In that case there are no maps, entries, programs, links and listeners here. */
  readonly notPinned: string | undefined;
  readonly maps: readonly PinnedMap[];
  /** The entries that differ from what the agent says. */
  readonly entries: readonly EntryDifference[];
  /** Those that ought to be attached; without those whose cgroup does not exist. */
  readonly programs: readonly AttachedProgram[];
  /** The pinned links of programs to cgroups. */
  readonly programLinks: readonly InstalledLink[];
  /** The parts of the guard that are pinned, and so attached. */
  readonly guard: readonly GuardLink[];
  readonly cgroupRootId: bigint | undefined;
  readonly netnsLinks: readonly InstalledNetnsLink[];
  /** Pinned or not. */
  readonly inboundLinks: readonly InboundLink[];
  /** Undefined if the map does not exist. */
  readonly listeners: readonly { readonly netnsCookie: bigint; readonly port: number }[] | undefined;
  /** What connect() takes for prepared for capture by route, by the namespaces' cookies. Undefined if the map does not exist. */
  readonly routed: ReadonlyMap<bigint, RoutedDevices> | undefined;
  /** Undefined if there is no such namespace. */
  readonly hostNetnsCookie: bigint | undefined;
  /** By path; cgroups that do not exist are left out. */
  readonly cgroups: ReadonlyMap<string, bigint>;
  /** By the cookie that the agent has. */
  readonly netns: ReadonlyMap<bigint, SeenNetns>;
}

export const LISTENED_PORTS = [ZTUNNEL_OUTBOUND_PORT, ZTUNNEL_INBOUND_PORT];

/** @throws BpfError, CgroupError, SystemCallError without the right to look; RangeError */
export function readKernel({ state, maps, plan, netns }: Claims, procPath: string): KernelView {
  const { pinDirectory, cgroupRoot, hostNetns } = state.node;
  const cgroupRootId = cgroupId(cgroupRoot);
  const notPinned = whyNotPinned(pinDirectory);
  const paths = [
    ...state.workloads.flatMap(({ cgroups }) => cgroups),
    ...state.kubelets,
    ...[...plan.values()].flat(),
  ].map(({ path }) => path);
  const common = {
    notPinned,
    cgroupRootId,
    hostNetnsCookie: unlessThrown(() => netnsCookie(hostNetns)),
    cgroups: new Map(
      paths.flatMap((path) => {
        const id = cgroupId(path);
        return id === undefined ? [] : [[path, id] as const];
      }),
    ),
    netns: cgroupRootId === undefined ? new Map() : seenNetns(state.node, netns, procPath),
  };
  if (notPinned !== undefined)
    return {
      ...common,
      maps: [],
      entries: [],
      programs: [],
      programLinks: [],
      guard: [],
      netnsLinks: [],
      inboundLinks: [],
      listeners: undefined,
      routed: undefined,
    };
  return {
    ...common,
    ...compareMaps(pinDirectory, maps),
    programs: readPrograms(pinDirectory, plan),
    programLinks: readLinks(pinDirectory),
    guard: readGuard(pinDirectory),
    netnsLinks: readNetnsLinks(pinDirectory),
    inboundLinks: readInboundLinks(),
    listeners: readListeners(
      pinDirectory,
      netns.map(({ cookie }) => cookie),
      LISTENED_PORTS,
    ),
    routed: readRoutedNetns(pinDirectory),
  };
}

function unlessThrown<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    // It does not exist. If the rights are missing, the other reads fail and report that.
    return undefined;
  }
}

const cgroupId = (path: string): bigint | undefined => unlessThrown(() => statSync(path, { bigint: true }).ino);

function seenNetns(
  { cgroupRoot, hostNetns, ipv6 = false }: Claims['state']['node'],
  claimed: Claims['netns'],
  procPath: string,
): Map<bigint, SeenNetns> {
  const resolver = new CgroupResolver({ procPath, cgroupRoot, hostNetns });
  const pods = new Map(resolver.pods().map((pod) => [pod.cgroupPath, pod]));
  const see = ({ cookie, pod, isServed, isRouted }: ClaimedNetns): SeenNetns => {
    // The agent only remembers this namespace, and does not see it either.
    if (pod.netnsCookie === undefined) return { kind: 'unchecked', why: 'no process of the pod shows it' };
    const cgroup = pods.get(pod.cgroups[0]?.path ?? '');
    if (cgroup === undefined) return { kind: 'unchecked', why: 'the pod has no cgroup' };
    try {
      const { own, nested } = resolver.podNamespaces(cgroup, { hasOwnUsers: true, isThorough: true });
      const found = [own, ...nested].find((one) => one?.cookie === cookie) ?? own;
      if (found === undefined) return { kind: 'none' };
      if (found.cookie !== cookie) return { kind: 'other', cookie: found.cookie };
      using netns = Netns.open(found.path, cookie);
      const capture = isRouted ? ({ by: 'route', podIps: pod.ips } as const) : ({ by: 'rewrite' } as const);
      const wanted = wantedParts(netns, { procPath, ipv6, capture }, netns.addresses());
      const missing = isServed ? checkState(netns, wanted, { procPath }) : [];
      return { kind: 'same', inode: netns.inode, missing };
    } catch (error) {
      if (error instanceof NetnsGoneError) return { kind: 'none' };
      return { kind: 'unchecked', why: messageOf(error) };
    }
  };
  return new Map(claimed.map((one) => [one.cookie, see(one)]));
}
