// One pass of the reconciler: it takes what is wanted and what runs through the enrolment into the maps, attaches the programs
// where they are needed, does what else `inPod` mode needs, and reports the result.
import {
  attachPlan,
  type ApplyResult,
  type AttachFailure,
  type AttachPlan,
  type AttachResult,
  type DesiredMaps,
  type Needs,
} from '@sluice/datapath';
import * as Effect from 'effect/Effect';
import * as Result from 'effect/Result';
import { Announcements } from '../announce/announcements.js';
import type { AgentConfig } from '../config/config.js';
import type { CaptureFacts } from '../enrolment/capture.js';
import { cgroupUid, enrol, type Enrolment, type KubeletCgroup } from '../enrolment/enrol.js';
import type { WorkloadStatus } from '../enrolment/status.js';
import { discoverZtunnels, type Ztunnels } from '../enrolment/ztunnel.js';
import { podName, type Inventory } from '../inventory/model.js';
import { InventorySource } from '../inventory/source.js';
import { messageOf } from '../failure/message-of.js';
import { Enforcement, EnforcementError } from '../node/enforcement.js';
import { NodeViewError } from '../node/node-view-error.js';
import type { NodeTruth, NodeView } from '../node/node-view.js';
import type { StartupError } from '../failure/startup-error.js';
import { metrics } from '../observe/metrics.js';
import { PodNetns } from '../pod-netns/pod-netns.js';
import { Zds, type ZdsConnection } from '../zds/zds.js';
import { captureFacts } from './capture-facts.js';
import { reportAttaching, reportFailures } from './failures.js';
import type { ListenerSights } from './listener-sights.js';
import { needsOf, type LastingNeeds } from './needs.js';
import { serve, type DoneNetns, type Served } from './serve.js';

export interface PassResult {
  readonly statuses: readonly WorkloadStatus[];
  readonly ztunnels: Ztunnels;
  readonly kubelets: readonly KubeletCgroup[];
  readonly hostNetnsCookie: bigint;
  /** Connected ztunnels; none in `node` mode. */
  readonly connections: readonly ZdsConnection[];
  readonly problems: readonly string[];
  readonly applied: ApplyResult;
  /** Where the programs are attached. */
  readonly plan: AttachPlan;
  /** Short names of the failures, for counting. */
  readonly failureKinds: readonly string[];
  /** What somebody else had undone, and this pass repaired. */
  readonly repaired: readonly string[];
  /** Whether another pass may soon find more, or get further. */
  readonly isIncomplete: boolean;
}

/** What a pass has decided, before it changes anything. */
export interface DecidedPass {
  readonly isThorough: boolean;
  readonly ztunnels: Ztunnels;
  readonly inventory: Inventory;
  readonly truth: NodeTruth;
  readonly enrolment: Enrolment;
  readonly needs: Needs;
  readonly plan: AttachPlan;
  readonly inventoryProblems: readonly string[];
}

/** What a pass has done when the programs are attached and the maps are written, in whichever order. */
export interface EnforcedPass extends DecidedPass {
  readonly applied: ApplyResult;
  readonly attached: AttachResult;
}

/** What the passes of one agent share. */
export interface PassPlaces {
  readonly view: NodeView;
  readonly config: AgentConfig;
  readonly doneNetns: DoneNetns;
  readonly sights: ListenerSights;
  readonly lasting: LastingNeeds;
  /** Cookies of the network namespaces whose pods an earlier agent captured by route. */
  readonly routedBefore: ReadonlySet<bigint>;
}

export type PassServices = InventorySource | Enforcement | PodNetns | Zds | Announcements;
export type PassError = EnforcementError | NodeViewError | StartupError;

/** Fails only if nothing could be done; what could not be done for one pod is in the result. */
export const reconcilePass = (
  places: PassPlaces,
  isThorough: boolean,
): Effect.Effect<PassResult, PassError, PassServices> =>
  Effect.gen(function* () {
    const enforcement = yield* Enforcement;
    const decided = yield* decidePass(places, isThorough);
    // A pod, ztunnel or the kubelet finds its programs when its entries are written.
    const attached = yield* attachedForAll(decided, enforcement.attach(decided.plan));
    const applied = yield* applyPass(decided.enrolment.desired);
    return yield* finishPass(places, { ...decided, applied, attached });
  });

/** Fails if a program could not be attached that is not for one pod alone: nobody can be told then that a pod is in the mesh. */
export const attachedForAll = Effect.fnUntraced(function* (
  { needs }: DecidedPass,
  attaching: Effect.Effect<AttachResult, EnforcementError>,
) {
  const attached = yield* attaching;
  const shared = [...needs.podsParents, ...needs.kubelets, ...needs.ztunnels, needs.root];
  const isOfOnePod = ({ cgroupId }: AttachFailure): boolean => !shared.some(({ id }) => id === cgroupId);
  const grave = attached.failures.filter((failure) => !isOfOnePod(failure));
  if (grave.length > 0)
    return yield* new EnforcementError({ call: 'attach', message: grave.map(({ error }) => error.message).join('; ') });
  return attached;
});

/** Looks, decides, and withdraws the announcements of pods that leave. */
export const decidePass = Effect.fnUntraced(function* (
  { view, config, sights, doneNetns, lasting }: PassPlaces,
  isThorough: boolean,
): Effect.fn.Return<DecidedPass, NodeViewError, PassServices> {
  const source = yield* InventorySource;
  const podNetns = yield* PodNetns;
  const zds = yield* Zds;
  const announcements = yield* Announcements;
  const { inventory, problems: inventoryProblems } = yield* source.current;
  const ztunnels = discoverZtunnels(inventory, config);
  const truth = yield* Effect.try({
    try: () => view.read(inventory, ztunnels, isThorough, podNetns.lend),
    catch: (error) => new NodeViewError({ message: messageOf(error) }),
  });
  const facts = zds.facts();
  const open = [...podNetns.changed()].filter(([cookie]) => podNetns.get(cookie) !== undefined);
  const remembered = new Map([...facts.acknowledged, ...open.map(([cookie, { uid }]) => [uid, cookie] as const)]);
  const { obstacles, addresses } = yield* lookIntoNetns(truth);
  const capture = captureFacts({ config, sights, obstacles, prepared: doneNetns.prepared }, facts, truth, isThorough);
  const served = { ...facts, remembered };
  const enrolment = enrol({ inventory, ztunnels, config, ...truth, served, capture, addresses });
  // Announcements of pods that leave are withdrawn before anything is taken from the pods.
  yield* announcements.withdraw(enrolment.statuses, inventory);
  const present = new Set([...truth.workloads.values()].map(({ pod }) => pod.cgroupId));
  const needs = lasting.extend(needsOf(config, truth, ztunnels, enrolment), present, performance.now());
  return { isThorough, ztunnels, inventory, truth, enrolment, needs, plan: attachPlan(needs), inventoryProblems };
});

/** Writes the maps. */
export const applyPass = Effect.fnUntraced(function* (desired: DesiredMaps) {
  const enforcement = yield* Enforcement;
  const applied = yield* enforcement.apply(desired);
  yield* metrics.applied(applied.written, applied.removed);
  yield* countEntries(desired);
  return applied;
});

interface NetnsFacts {
  /** What each namespace holds, by cookie. */
  readonly addresses: ReadonlyMap<bigint, readonly string[]>;
  readonly obstacles: CaptureFacts['obstacles'];
}

/** What was seen when a process of the pod showed the namespace counts for those that cannot be looked into any more. */
const lookIntoNetns = Effect.fnUntraced(function* ({ workloads }: NodeTruth) {
  const podNetns = yield* PodNetns;
  const addresses = new Map<bigint, readonly string[]>();
  const obstacles = new Map<bigint, string>();
  for (const { netns } of workloads.values()) if (netns !== undefined) addresses.set(netns.cookie, netns.addresses);
  for (const cookie of new Set([...addresses.keys(), ...podNetns.changed().keys()])) {
    if (podNetns.get(cookie) === undefined) continue;
    const held = yield* Effect.result(podNetns.addresses(cookie));
    if (Result.isSuccess(held))
      addresses.set(
        cookie,
        held.success.map(({ address }) => address),
      );
    const inTheWay = yield* Effect.result(podNetns.inTheWay(cookie));
    const words = Result.isFailure(inTheWay)
      ? `its network namespace cannot be looked into: ${inTheWay.failure.message}`
      : inTheWay.success;
    if (words !== undefined) obstacles.set(cookie, words);
  }
  return { addresses, obstacles } satisfies NetnsFacts;
});

/** Serves the pods whose entries are written, and collects the result. */
export const finishPass = Effect.fnUntraced(function* (
  { view, doneNetns }: PassPlaces,
  { isThorough, ztunnels, inventory, truth, enrolment, plan, applied, attached, inventoryProblems }: EnforcedPass,
): Effect.fn.Return<PassResult, EnforcementError | StartupError, PassServices> {
  const enforcement = yield* Enforcement;
  if (attached.failures.length === 0) yield* enforcement.detachOthers(plan);
  const podNetns = yield* PodNetns;
  const zds = yield* Zds;
  const announcements = yield* Announcements;
  const { desired, isIncomplete } = enrolment;
  const present = ztunnels.pods.filter((pod) => truth.workloads.has(cgroupUid(pod)));
  zds.admit(new Map(present.map((pod) => [cgroupUid(pod), podName(pod)])));
  const served = yield* serve(enrolment.served, {
    isThorough,
    done: doneNetns,
    find: (netns) => view.findNetns(netns, podNetns.lend),
  });
  const failures = reportFailures(applied.failures, desired);
  const unattached = reportAttaching(attached.failures);
  const statuses = enrolment.statuses.map((status) => withFindings(status, [failures.byWorkload, unattached], served));
  const unsaid = yield* announcements.publish(statuses, inventory);
  return {
    statuses,
    ztunnels,
    kubelets: truth.kubelets,
    hostNetnsCookie: truth.hostNetnsCookie,
    connections: zds.connections(),
    problems: [
      ...inventoryProblems,
      ...ztunnels.problems,
      ...truth.problems,
      ...failures.others,
      ...served.others,
      ...unsaid,
    ],
    applied,
    plan,
    failureKinds: [...failures.kinds, ...attached.failures.map(() => 'attach')],
    repaired: served.repaired,
    isIncomplete: isIncomplete || applied.failures.length > 0 || attached.failures.length > 0 || served.isIncomplete,
  };
});

function withFindings(
  status: WorkloadStatus,
  failures: readonly ReadonlyMap<bigint, readonly string[]>[],
  served: Served,
): WorkloadStatus {
  const [podLevel] = status.cgroups;
  const problems = [
    ...status.problems,
    ...(podLevel === undefined ? [] : failures.flatMap((of) => of.get(BigInt(podLevel.id)) ?? [])),
    ...(served.problems.get(status.uid) ?? []),
  ];
  return { ...status, ...(served.unattached.has(status.uid) ? { inbound: 'no' as const } : {}), problems };
}

const countEntries = (desired: DesiredMaps): Effect.Effect<void> =>
  Effect.all(
    [
      metrics.entries('cgroup_info_map', desired.cgroups.size),
      metrics.entries('netns_info_map', desired.netns.size),
      metrics.entries('local_pods', desired.localPods.size),
      metrics.entries('rules', desired.rules.length),
    ],
    { discard: true },
  );
