// Why a connection goes where it goes: evaluates the decision table, row by row, on the pinned maps.
import { statSync } from 'node:fs';
import { isIP } from 'node:net';
import { dirname } from 'node:path';
import { CgroupResolver } from '@sluice/cgroup-resolver';
import {
  canonicalAddress,
  decide,
  findCaller,
  InstalledDatapath,
  REFUSE,
  staysInPod,
  WorkloadFlag,
  ZTUNNEL_OUTBOUND_PORT,
  type CgroupInfo,
  type Decision,
  type Query,
} from '@sluice/datapath';
import { Netns } from '@sluice/linux';
import { levelOf } from '../node/kubelet.js';
import type { Capture } from '../enrolment/capture.js';
import type { DatedStatus } from '../enrolment/status.js';
import type { AgentState } from '../state/state.js';
import { InspectError, noSuchPod } from './errors.js';

export type Caller =
  | { readonly kind: 'pod'; readonly namespace: string; readonly name: string }
  /** Any process of the host that is not a kubelet. */
  | { readonly kind: 'host' }
  | { readonly kind: 'kubelet' };

export interface Explanation {
  readonly caller: {
    readonly description: string;
    readonly cgroup: string;
    readonly netnsCookie: string;
    /** What the maps say about the caller. */
    readonly inMaps: string;
    /** For a pod, the reason of its state, in the agent's words. */
    readonly reason: string | undefined;
    /** For a pod in the mesh, how its connections are captured, by the maps; the reason is in the agent's words. */
    readonly capture: Capture | undefined;
    /** The device that its socket is bound to. */
    readonly device: string | undefined;
  };
  readonly destination: { readonly ip: string; readonly port: number };
  readonly verdict: Decision['verdict'];
  readonly decidedBy: Decision['reason'];
  /** What the table does not say of the outcome. */
  readonly note: string | undefined;
  readonly target: Decision['target'];
  readonly rows: Decision['rows'];
}

/** A cgroup and its ancestors up to the mount. */
function chainOf(resolver: CgroupResolver, directory: string): Query['cgroups'] {
  const chain: { id: bigint; level: number }[] = [];
  const { mountPoint } = resolver.hierarchy;
  for (let path = directory; path === mountPoint || path.startsWith(`${mountPoint}/`); path = dirname(path)) {
    try {
      chain.push({ id: statSync(path, { bigint: true }).ino, level: levelOf(resolver, path) });
    } catch {
      throw new InspectError('no-cgroup', `the cgroup ${path} is gone; ask again when the pod runs`);
    }
    if (path === mountPoint) break;
  }
  return chain;
}

interface Place {
  readonly description: string;
  readonly cgroup: string;
  readonly netnsCookie: bigint;
  /** A path to its network namespace; undefined if no process shows it now. */
  readonly netns: string | undefined;
  readonly reason: string | undefined;
  /** As the agent says. */
  readonly capture?: Capture | undefined;
}

function podPlace(state: AgentState, resolver: CgroupResolver, namespace: string, name: string): Place {
  const found: DatedStatus | undefined = state.workloads.find(
    (status) => status.namespace === namespace && status.name === name,
  );
  if (found === undefined) {
    throw new InspectError('no-such-pod', noSuchPod(`${namespace}/${name}`, state.node.name));
  }
  const [podLevel, container] = found.cgroups;
  if (podLevel === undefined)
    throw new InspectError('no-cgroup', `pod ${namespace}/${name} has no cgroup on this node: ${found.reason}`);
  const pod = resolver.pods().find(({ cgroupPath }) => cgroupPath === podLevel.path);
  const netns = pod === undefined ? undefined : resolver.podNetns(pod, { hasOwnUsers: true });
  return {
    description: `pod ${namespace}/${name}`,
    cgroup: container?.path ?? podLevel.path,
    netnsCookie: found.netnsCookie === undefined ? (netns?.cookie ?? 0n) : BigInt(found.netnsCookie),
    netns: netns?.path,
    reason: found.reason,
    capture: found.capture,
  };
}

function placeOf(caller: Caller, state: AgentState, resolver: CgroupResolver): Place {
  if (caller.kind === 'pod') return podPlace(state, resolver, caller.namespace, caller.name);
  const place = { netnsCookie: BigInt(state.node.hostNetnsCookie), netns: state.node.hostNetns, reason: undefined };
  if (caller.kind === 'host') return { ...place, description: 'a process of the host', cgroup: resolver.cgroupRoot };
  const [kubelet] = state.kubelets;
  if (kubelet === undefined) {
    throw new InspectError(
      'no-cgroup',
      'the agent has found no kubelet on this node; name its cgroup with `kubelet.cgroup`, or its process with `kubelet.names`',
    );
  }
  return { ...place, description: 'the kubelet', cgroup: kubelet.path };
}

/** The index of a device that the caller's socket may be bound to. */
function deviceIndex({ description, netns: path, netnsCookie }: Place, name: string): number {
  if (path === undefined)
    throw new InspectError(
      'no-device',
      `no process shows the network namespace of ${description}; ask again when it runs`,
    );
  using netns = Netns.open(path, netnsCookie);
  const devices = netns.devices();
  const found = devices.find((device) => device.name === name);
  if (found !== undefined) return found.ifindex;
  const names = devices.map((device) => device.name).join(', ');
  throw new InspectError(
    'no-device',
    `there is no device ${name} in the network namespace of ${description}; these are there: ${names}`,
  );
}

function describeEntry(flags: number, inMesh: boolean): string {
  if (flags & WorkloadFlag.ZTUNNEL) return 'ztunnel';
  if (flags & WorkloadFlag.KUBELET) return 'the kubelet';
  if (flags & WorkloadFlag.PENDING) return 'wanted in the mesh, and not in it yet';
  return inMesh ? 'in the mesh' : 'known, and not in the mesh';
}

/** The maps may be a pass ahead of what the agent has said. */
function captureOf(entry: CgroupInfo | undefined, said: Capture | undefined): Capture | undefined {
  if (entry?.inMesh !== true || (entry.flags & WorkloadFlag.PENDING) !== 0) return undefined;
  if ((entry.flags & WorkloadFlag.ROUTE) !== 0) return { by: 'route' };
  return said?.by === 'rewrite' ? said : { by: 'rewrite', because: 'the maps say so, and the agent has not said why' };
}

/**
 * Evaluates the model of the decision table on what the kernel enforces now.
 * @param device the name of the device that the caller's socket is bound to, if it is bound to one
 * @throws InspectError, DatapathError not-installed, CgroupError
 */
export function explain(
  state: AgentState,
  caller: Caller,
  { device, ...to }: { readonly ip: string; readonly port: number; readonly device?: string | undefined },
  procPath = '/proc',
): Explanation {
  using installed = InstalledDatapath.open(state.node.pinDirectory);
  const maps = installed.read();
  const resolver = new CgroupResolver({ procPath, cgroupRoot: state.node.cgroupRoot, hostNetns: state.node.hostNetns });
  const place = placeOf(caller, state, resolver);
  const ifindex = device === undefined ? 0 : deviceIndex(place, device);
  const routed = installed.routed().get(place.netnsCookie)?.get(ifindex);
  const cgroups = chainOf(resolver, place.cgroup);
  const expected = installed.expected();
  const query: Query = {
    cgroups,
    netnsCookie: place.netnsCookie,
    mark: 0,
    device: ifindex,
    isRouted: (canonicalAddress(to.ip).includes(':') ? routed?.ipv6 : routed?.ipv4) === true,
    isExpected: cgroups.some(({ id }) => expected.has(id)),
    isListenedFor: installed.capturedListener(place.netnsCookie, ZTUNNEL_OUTBOUND_PORT) !== undefined,
    canHold: installed.canHold(),
    ...to,
  };
  const entry = findCaller(maps, query);
  const { verdict, reason, target, rows } = decide(maps, query);
  const isRefused = !staysInPod(canonicalAddress(to.ip), ifindex) && isRefusedAt(state, cgroups);
  return {
    caller: {
      description: place.description,
      cgroup: place.cgroup,
      netnsCookie: String(place.netnsCookie),
      inMaps: entry === undefined ? 'not in the maps' : describeEntry(entry.flags, entry.inMesh),
      reason: place.reason,
      capture: captureOf(entry, place.capture),
      device,
    },
    destination: to,
    verdict: isRefused ? 'refuse' : verdict,
    decidedBy: reason,
    target,
    note: isRefused
      ? WITHOUT_ENTRY
      : verdict === 'route' && !hasFamilyOf(maps.ownAddresses.get(place.netnsCookie) ?? [], to.ip)
        ? NO_ADDRESS
        : undefined,
    rows,
  };
}

/** Whether the agent has attached there, or above, what refuses connections of pods without an entry. */
const isRefusedAt = ({ programs = {} }: AgentState, cgroups: Query['cgroups']): boolean =>
  REFUSE.some((program) => programs[program]?.some((place) => cgroups.some(({ id }) => String(id) === place.id)));

const WITHOUT_ENTRY =
  'the pod is to be in the mesh and its entry could not be written, so that a program at its cgroup refuses the connection, whatever the table says';

const NO_ADDRESS =
  "the pod has no address of the destination's family: the kernel answers EHOSTUNREACH, as it would without a mesh";

/** A link-local address (fe80::/10) leads no further than its link. */
function hasFamilyOf(own: readonly string[], ip: string): boolean {
  const isIPv6 = canonicalAddress(ip).includes(':');
  return own.some((address) => address.includes(':') === isIPv6 && !/^fe[89ab]/.test(address));
}

/** Parses `10.0.0.1:80` or `[fd00::1]:80`; undefined if the text has another form. Pure. */
export function parseDestination(text: string): { ip: string; port: number } | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|(\d+\.\d+\.\d+\.\d+)):(\d{1,5})$/.exec(text);
  const ip = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  return ip === undefined || isIP(ip) === 0 || port < 1 || port > 65535 ? undefined : { ip, port };
}
