// What a pass sees: what is wanted, what runs, and who joins and leaves.
import * as Duration from 'effect/Duration';
import * as Effect from 'effect/Effect';
import * as Result from 'effect/Result';
import type { AgentConfig } from '../config/config.js';
import { heldAddress, type HeldAddress } from '../enrolment/addresses.js';
import type { CaptureFacts } from '../enrolment/capture.js';
import { decidedPods, type DecidedPod } from '../enrolment/decided-pods.js';
import { discoverZtunnels, type Ztunnels } from '../enrolment/ztunnel.js';
import { messageOf } from '../failure/message-of.js';
import type { KnownPods } from '../inventory/known-pods.js';
import type { Inventory } from '../inventory/model.js';
import { InventorySource } from '../inventory/source.js';
import { NodeViewError } from '../node/node-view-error.js';
import type { NodeTruth, NodeView } from '../node/node-view.js';
import { PodNetns } from '../pod-netns/pod-netns.js';
import { Zds } from '../zds/zds.js';
import type { Leaving } from './leaving.js';

/** What the looks of one agent share. */
export interface LookPlaces {
  readonly view: NodeView;
  readonly config: AgentConfig;
  readonly known: KnownPods;
  readonly leaving: Leaving;
  /** UIDs of the pods that the maps have as not wanted since the last pass. */
  readonly out: Set<string>;
}

/** What is wanted and what runs, at one moment. */
export interface Look {
  /** With the pods that run although their objects are gone. */
  readonly inventory: Inventory;
  readonly inventoryProblems: readonly string[];
  readonly ztunnels: Ztunnels;
  /** The pods of this node, and what is decided about them. */
  readonly pods: readonly DecidedPod[];
  readonly leave: ReturnType<Leaving['look']>;
  readonly truth: NodeTruth;
}

/** Looks for the network namespaces of the pods that are wanted or leaving, and of no others. */
export const look = Effect.fnUntraced(function* (
  places: LookPlaces,
  isThorough: boolean,
): Effect.fn.Return<Look, NodeViewError, InventorySource | PodNetns | Zds> {
  const { view, config, known } = places;
  const { inventory: reported, problems: inventoryProblems } = yield* (yield* InventorySource).current;
  const podNetns = yield* PodNetns;
  const { acknowledged } = (yield* Zds).facts();
  return yield* looked(() => {
    const cgroups = view.cgroups();
    const running = new Map(cgroups.map((pod) => [pod.podUid, { pod, netns: undefined }]));
    const inventory = known.complete(reported, new Set(running.keys()));
    const ztunnels = discoverZtunnels(inventory, config);
    const pods = decidedPods({ inventory, ztunnels, config, workloads: running });
    const leave = leavingOf(places, pods, acknowledged);
    const wanted = new Map(
      pods
        .filter(({ pod, decision }) => decision.verdict !== 'out' || leave.staying.has(pod.uid))
        .map(({ pod, podUid }) => [podUid, { hasOwnUsers: pod.hasOwnUsers === true }]),
    );
    const truth = view.read(cgroups, wanted, isThorough, podNetns.lend);
    return { inventory, inventoryProblems, ztunnels, pods, leave, truth };
  });
});

const looked = <A>(look: () => A): Effect.Effect<A, NodeViewError> =>
  Effect.try({ try: look, catch: (error) => new NodeViewError({ message: messageOf(error) }) });

/** Who is in the mesh by what ztunnel has acknowledged, and not wanted any more. */
function leavingOf(
  { config, leaving }: Pick<LookPlaces, 'config' | 'leaving'>,
  pods: readonly DecidedPod[],
  acknowledged: ReadonlyMap<string, bigint>,
): ReturnType<Leaving['look']> {
  const unwanted = pods.filter(
    ({ pod, workload, decision }) => decision.verdict === 'out' && workload !== undefined && acknowledged.has(pod.uid),
  );
  const graceMs = Duration.toMillis(config.ambient.leaveGrace);
  return leaving.look(new Set(unwanted.map(({ pod }) => pod.uid)), graceMs, performance.now());
}

/** A pod that is wanted now connects as before until its namespace is prepared, so that its connections can be held then. */
export function enteringOf(
  { config, out }: Pick<LookPlaces, 'config' | 'out'>,
  pods: readonly DecidedPod[],
): Set<string> {
  if (config.mode !== 'inPod') return new Set();
  const wanted = pods.filter(({ decision, workload }) => decision.verdict === 'wanted' && workload !== undefined);
  return new Set(wanted.map(({ pod }) => pod.uid).filter((uid) => out.has(uid)));
}

export interface NetnsFacts {
  /** What each namespace holds, by cookie. */
  readonly addresses: ReadonlyMap<bigint, readonly HeldAddress[]>;
  readonly obstacles: CaptureFacts['obstacles'];
}

/** What was seen when a process of the pod showed the namespace counts for those that cannot be looked into any more. */
export const lookIntoNetns = Effect.fnUntraced(function* ({ workloads }: NodeTruth) {
  const podNetns = yield* PodNetns;
  const addresses = new Map<bigint, readonly HeldAddress[]>();
  const obstacles = new Map<bigint, string>();
  for (const { netns } of workloads.values())
    if (netns !== undefined) addresses.set(netns.cookie, netns.addresses.map(heldAddress));
  for (const cookie of new Set([...addresses.keys(), ...podNetns.changed().keys()])) {
    if (podNetns.get(cookie) === undefined) continue;
    const held = yield* Effect.result(podNetns.addresses(cookie));
    if (Result.isSuccess(held)) addresses.set(cookie, held.success);
    const inTheWay = yield* Effect.result(podNetns.inTheWay(cookie));
    const words = Result.isFailure(inTheWay)
      ? `its network namespace cannot be looked into: ${inTheWay.failure.message}`
      : inTheWay.success;
    if (words !== undefined) obstacles.set(cookie, words);
  }
  return { addresses, obstacles } satisfies NetnsFacts;
});

/** A process of a pod that is still in the host's namespace is about to move, or belongs to the runtime. */
export const knownNetns = ({ workloads, hostNetnsInode }: NodeTruth): ReadonlyMap<string, ReadonlySet<bigint>> =>
  new Map(
    [...workloads].flatMap(([uid, { netns, nested = [] }]) =>
      netns === undefined
        ? []
        : [[uid, new Set([netns, ...nested].map(({ inode }) => inode)).add(hostNetnsInode)] as const],
    ),
  );
