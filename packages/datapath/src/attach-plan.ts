// Which program is attached to which cgroups: only where somebody needs it, and only while somebody needs it. Pure.
import { PROGRAMS } from './layout.js';

/** A cgroup to which programs are attached. */
export interface Place {
  /** Absolute path of its directory, without a trailing slash. */
  readonly path: string;
  readonly id: bigint;
}

/** By program. A program that is not in it is attached nowhere. */
export type AttachPlan = ReadonlyMap<string, readonly Place[]>;

/** Who needs programs. The places of each list may be nested, and may be in several lists. */
export interface Needs {
  readonly mode: 'node' | 'inPod';
  /** The configured cgroup: everything below it is subject to what is attached there. */
  readonly root: Place;
  /** The cgroups right above the QoS classes of pods (`kubepods`); none while no pod has been seen. */
  readonly podsParents: readonly Place[];
  readonly kubelets: readonly Place[];
  /** Pod-level cgroups. */
  readonly ztunnels: readonly Place[];
  /** The pod-level cgroups of the pods whose connections are captured by a rewritten destination. */
  readonly rewritten: readonly Place[];
  /** The pod-level cgroups of the pods whose connections may have to wait for ztunnel. */
  readonly held: readonly Place[];
  /** The pod-level cgroups of the pods that are to be in the mesh and have no entry by which they could be told. */
  readonly refused: readonly Place[];
  /** Whether the DNS of any pod is captured. */
  readonly capturesDns: boolean;
  /** Whether every process of the host counts as a prober, and not only the kubelet. */
  readonly probesFromHost: boolean;
  /** Whether a socket counts as ztunnel's by its mark, wherever it is. */
  readonly ztunnelByMark: boolean;
}

const CONNECT = ['sluice_connect4', 'sluice_connect6'];
const LISTEN = ['sluice_listen'];
const BIND = ['sluice_bind4', 'sluice_bind6'];
const HOLD = 'sluice_hold';
/** What a pod dials is refused where these are attached. */
export const REFUSE: readonly string[] = ['sluice_refuse4', 'sluice_refuse6'];
const GETPEERNAME = ['sluice_getpeername4', 'sluice_getpeername6'];
const DATAGRAMS = [
  'sluice_sendmsg4',
  'sluice_sendmsg6',
  'sluice_recvmsg4',
  'sluice_recvmsg6',
  'sluice_getsockname4',
  'sluice_getsockname6',
];

/**
 * No program is at two places of which one is inside the other: there it would run twice for one call, and the second run
 * would see what the first has done.
 */
export function attachPlan(needs: Needs): AttachPlan {
  const { mode, root, kubelets, rewritten, capturesDns } = needs;
  // `to-mesh` is for callers anywhere on the node, and so is whatever is told by its mark.
  const where = (condition: boolean, places: readonly Place[]): readonly Place[] => (condition ? places : []);
  const ofPods: readonly (readonly [readonly string[], readonly Place[]])[] = [
    [[HOLD], needs.held],
    [REFUSE, needs.refused],
  ];
  if (mode === 'node' || needs.ztunnelByMark)
    return planOf([[[...everythingAt(root).keys()].filter((name) => name !== HOLD), [root]], ...ofPods]);
  // While no pod has been seen nobody is in the mesh, and whichever comes first is seen by the program above it.
  const pods = needs.podsParents.length === 0 ? [root] : needs.podsParents;
  const probers = needs.probesFromHost ? [root] : kubelets;
  const { ztunnels } = needs;
  const isAnyRewritten = rewritten.length > 0;
  return planOf([
    [CONNECT, [...pods, ...probers]],
    // Exemptions of what ztunnel and the kubelet dial, ztunnel's listeners, and the hand-off of the original destination.
    [['sluice_sockops'], [...ztunnels, ...probers, ...rewritten]],
    // Listeners of pods about which nobody has decided.
    [LISTEN, pods],
    // The same, ztunnel's listeners, and the ports of applications that are captured by route.
    [BIND, [...pods, ...ztunnels]],
    [['sluice_getsockopt'], where(isAnyRewritten, ztunnels)],
    [GETPEERNAME, where(isAnyRewritten || capturesDns, pods)],
    [DATAGRAMS, where(capturesDns, pods)],
    ...ofPods,
  ]);
}

const planOf = (wanted: readonly (readonly [readonly string[], readonly Place[]])[]): AttachPlan =>
  new Map(
    wanted
      .filter(([, places]) => places.length > 0)
      .flatMap(([programs, places]) => programs.map((name) => [name, uppermost(places)] as const)),
  );

/** Every program at one cgroup, except for those that refuse everything. */
export function everythingAt(place: Place): AttachPlan {
  return planOf([[PROGRAMS.filter((name) => !REFUSE.includes(name)), [place]]]);
}

/** Whether a cgroup is the other one, or inside it. */
export function isWithin(inner: Place, outer: Place): boolean {
  return inner.path === outer.path || inner.path.startsWith(outer.path === '/' ? '/' : `${outer.path}/`);
}

/** Each place once, without those inside another one, in the order of their paths. */
function uppermost(places: readonly Place[]): readonly Place[] {
  const byPath = [...new Map(places.map((place) => [place.path, place])).values()];
  return byPath
    .filter((place) => !byPath.some((other) => other !== place && isWithin(place, other)))
    .toSorted((a, b) => (a.path < b.path ? -1 : 1));
}
