// One pass of the reconciler: it takes what is wanted and what runs through the enrolment into the maps, attaches the programs
// where they are needed, does what else `inPod` mode needs, and reports the result.
import {
  attachPlan,
  type ApplyResult,
  type AttachFailure,
  type AttachPlan,
  type AttachResult,
  type DesiredMaps,
  type MissingPart,
  type Needs,
} from '@sluice/datapath';
import * as Effect from 'effect/Effect';
import { Announcements } from '../announce/announcements.js';
import { enrol } from '../enrolment/enrol.js';
import type { Enrolment, KubeletCgroup } from '../enrolment/enrolment.js';
import { withinCapacities } from '../enrolment/room.js';
import type { WorkloadStatus } from '../enrolment/status.js';
import type { Ztunnels } from '../enrolment/ztunnel.js';
import { expectedNamespaces } from '../enrolment/membership.js';
import { podName, type Inventory } from '../inventory/model.js';
import type { InventorySource } from '../inventory/source.js';
import { Enforcement, EnforcementError } from '../node/enforcement.js';
import { NodeGuard, type FirstFacts } from '../node/guard.js';
import type { NodeViewError } from '../node/node-view-error.js';
import type { NodeTruth } from '../node/node-view.js';
import type { StartupError } from '../failure/startup-error.js';
import { metrics } from '../observe/metrics.js';
import { PodNetns } from '../pod-netns/pod-netns.js';
import { Zds, type ZdsConnection } from '../zds/zds.js';
import { captureFacts } from './capture-facts.js';
import { enforced, type EnforcedPod } from './enforced.js';
import { reportFailures } from './failures.js';
import { enteringOf, knownNetns, look, lookIntoNetns, type Look, type LookPlaces } from './look.js';
import type { LingeringAddresses } from './lingering-addresses.js';
import type { ListenerSights } from './listener-sights.js';
import { letListenersGo, reachablePods, type InForce, type LetGo } from './let-go.js';
import { isPlanned, missingNow, repairsOf, said, type Repair } from './missing.js';
import { needsOf, type LastingNeeds } from './needs.js';
import type { Patience } from './patience.js';
import { refusedPods, withThoseOut, withoutWayIn } from './without-entry.js';
import type { SightedPod } from './sightings.js';
import { prepareNew, serve, type DoneNetns, type Served } from './serve.js';

export interface PassResult {
  readonly statuses: readonly WorkloadStatus[];
  readonly ztunnels: Ztunnels;
  readonly kubelets: readonly KubeletCgroup[];
  readonly hostNetnsCookie: bigint;
  /** Connected ztunnels; none in `node` mode. */
  readonly connections: readonly ZdsConnection[];
  readonly problems: readonly string[];
  readonly applied: ApplyResult;
  /** The parts of the guard that are attached. */
  readonly guard: readonly string[];
  /** Every pod with a cgroup. */
  readonly sighted: readonly SightedPod[];
  /** Inodes of the network namespaces that are known of each pod, and of the host's, by pod UID. */
  readonly known: ReadonlyMap<string, ReadonlySet<bigint>>;
  /** Where the programs are attached. */
  readonly plan: AttachPlan;
  /** Short names of the failures, for counting. */
  readonly failureKinds: readonly string[];
  /** What somebody else had undone, and this pass repaired. */
  readonly repaired: readonly Repair[];
  /** What somebody else has taken away, and this pass could not put back. */
  readonly missing: readonly MissingPart[];
  /** Whether another pass may soon find more, or get further. */
  readonly isIncomplete: boolean;
  /** In how many milliseconds a pass has something to do even if nothing happens until then; undefined if there is nothing. */
  readonly dueMs: number | undefined;
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
  readonly dueMs: number | undefined;
  /** What somebody else had taken away before this pass. */
  readonly missing: readonly MissingPart[];
}

/** What a pass has done when the programs are attached and the maps are written, in whichever order. */
export interface EnforcedPass extends DecidedPass {
  readonly applied: ApplyResult;
  readonly attached: AttachResult;
}

/** What the passes of one agent share. */
export interface PassPlaces extends LookPlaces {
  readonly doneNetns: DoneNetns;
  readonly sights: ListenerSights;
  readonly lasting: LastingNeeds;
  /** What was not in force for a pod after the last pass, in words, by UID. */
  readonly lacking: Map<string, string>;
  readonly patience: Patience;
  readonly lingering: LingeringAddresses;
  readonly letGo: LetGo;
  /** Cookies of the network namespaces whose pods an earlier agent captured by route. */
  readonly routedBefore: ReadonlySet<bigint>;
}

/** What of it the end of a pass needs. */
type FinishPlaces = Pick<PassPlaces, 'view' | 'config' | 'doneNetns' | 'out' | 'lacking' | 'letGo'>;

export type PassServices = InventorySource | Enforcement | NodeGuard | PodNetns | Zds | Announcements;
export type PassError = EnforcementError | NodeViewError | StartupError;

/** Fails only if nothing could be done; what could not be done for one pod is in the result. */
export const reconcilePass = (
  places: PassPlaces,
  isThorough: boolean,
): Effect.Effect<PassResult, PassError, PassServices> =>
  Effect.gen(function* () {
    const enforcement = yield* Enforcement;
    const decided = yield* decidePrepared(places, isThorough);
    // A pod, ztunnel or the kubelet finds its programs when its entries are written.
    const attached = yield* attachedForAll(decided, enforcement.attach(decided.plan));
    const applied = yield* applyPass(decided.enrolment.desired);
    const refusing = refusingUnwritten(decided, applied);
    const all = refusing === decided ? attached : yield* attachedForAll(refusing, enforcement.attach(refusing.plan));
    return yield* finishPass(places, { ...refusing, applied, attached: all });
  });

/**
 * Fails if a program could not be attached that is not for one pod alone: nobody can be told then that a pod is in the mesh. One that was
 * attached, and that somebody has taken away, makes pods pending instead.
 */
export const attachedForAll = Effect.fnUntraced(function* (
  { needs, missing }: DecidedPass,
  attaching: Effect.Effect<AttachResult, EnforcementError>,
) {
  const attached = yield* attaching;
  const shared = [...needs.podsParents, ...needs.kubelets, ...needs.ztunnels, needs.root];
  const isOfOnePod = ({ cgroupId }: AttachFailure): boolean => !shared.some(({ id }) => id === cgroupId);
  const wasThere = ({ program, cgroupId }: AttachFailure): boolean =>
    missing.some((part) => part.program === program && part.cgroupId === cgroupId);
  const grave = attached.failures.filter((failure) => !isOfOnePod(failure) && !wasThere(failure));
  if (grave.length > 0)
    return yield* new EnforcementError({ call: 'attach', message: grave.map(({ error }) => error.message).join('; ') });
  return attached;
});

/** What a pass has seen, on which it decides. */
interface SeenPass extends Look {
  readonly isThorough: boolean;
  readonly missing: readonly MissingPart[];
}

const seePass = Effect.fnUntraced(function* (
  places: PassPlaces,
  isThorough: boolean,
): Effect.fn.Return<SeenPass, NodeViewError | EnforcementError, PassServices> {
  const missing = yield* missingNow;
  return { ...(yield* look(places, isThorough)), isThorough, missing };
});

/** Looks, decides, and withdraws the announcements of pods that leave. */
export const decidePass = Effect.fnUntraced(function* (
  places: PassPlaces,
  isThorough: boolean,
): Effect.fn.Return<DecidedPass, NodeViewError | EnforcementError, PassServices> {
  const seen = yield* seePass(places, isThorough);
  return yield* conclude(places, seen, yield* enrolSeen(places, seen));
});

/**
 * The same, and prepares the namespaces of pods that are new before the maps say what becomes of their connections: until then these are
 * refused, and afterwards they are held.
 */
const decidePrepared = Effect.fnUntraced(function* (
  places: PassPlaces,
  isThorough: boolean,
): Effect.fn.Return<DecidedPass, NodeViewError | EnforcementError, PassServices> {
  const seen = yield* seePass(places, isThorough);
  const enrolled = yield* enrolSeen(places, seen);
  const comers = enrolled.enrolment.served.filter(({ uid }) => !enrolled.entering.has(uid));
  const isOther = yield* prepareNew(comers, places.doneNetns);
  return yield* conclude(places, seen, isOther ? yield* enrolSeen(places, seen) : enrolled);
});

/** Whom a pass enrols, which may be asked again when more namespaces are prepared. */
interface EnrolledPass {
  readonly enrolment: Enrolment;
  readonly entering: ReadonlySet<string>;
  readonly waiting: readonly string[];
  readonly attached: ReadonlySet<bigint>;
}

const enrolSeen = Effect.fnUntraced(function* (
  places: PassPlaces,
  { isThorough, inventory, ztunnels, pods, leave, truth }: SeenPass,
): Effect.fn.Return<EnrolledPass, NodeViewError | EnforcementError, PassServices> {
  const { config, sights, doneNetns, patience } = places;
  const podNetns = yield* PodNetns;
  const facts = (yield* Zds).facts();
  const open = [...podNetns.changed()].filter(([cookie]) => podNetns.get(cookie) !== undefined);
  const remembered = new Map([...facts.acknowledged, ...open.map(([cookie, { uid }]) => [uid, cookie] as const)]);
  const { obstacles, addresses } = yield* lookIntoNetns(truth);
  const capture = captureFacts({ config, sights, obstacles, prepared: doneNetns.prepared }, facts, truth, isThorough);
  const entering = enteringOf(places, pods);
  const attached = yield* (yield* Enforcement).attachedNetns;
  const served = {
    ...facts,
    remembered,
    attached,
    notInForce: places.lacking,
    leaving: leave.staying,
    entering,
  };
  const overdue = patience.overdue(performance.now());
  const enrolWith = (late: ReadonlySet<string>): Enrolment => {
    const wished = enrol({ inventory, ztunnels, config, ...truth, served, capture, addresses, overdue: late });
    return withinCapacities(wished, config.capacities);
  };
  const assumed = enrolWith(overdue);
  const waiting = yield* waitingPods(assumed);
  patience.see(waiting, performance.now());
  // One that was overdue and has its ztunnel by now waits anew when that goes again.
  const stillOverdue = new Set(waiting.filter((uid) => overdue.has(uid)));
  const enrolment = stillOverdue.size === overdue.size ? assumed : enrolWith(stillOverdue);
  return { enrolment, entering, waiting, attached };
});

/** Once in a pass: it compares with the one before. */
const conclude = Effect.fnUntraced(function* (
  places: PassPlaces,
  { isThorough, missing, inventory, inventoryProblems, ztunnels, leave, truth }: SeenPass,
  { enrolment: decided, entering, waiting, attached }: EnrolledPass,
): Effect.fn.Return<DecidedPass, never, PassServices> {
  const { config, lasting, lingering, patience } = places;
  const podNetns = yield* PodNetns;
  const { desired, isLeft } = lingering.extend(decided.desired, (cookie) => podNetns.changed().has(cookie));
  const captured = [...attached, ...decided.served.map(({ cookie }) => cookie)];
  const enrolment = { ...decided, desired: withThoseOut(desired, captured) };
  // Announcements of pods that leave are withdrawn before anything is taken from the pods.
  yield* (yield* Announcements).withdraw(enrolment.statuses, inventory);
  const present = new Set([...truth.workloads.values()].map(({ pod }) => pod.cgroupId));
  const needs = lasting.extend(needsOf(config, truth, ztunnels, enrolment, waiting), present, performance.now());
  const dueMs = earliest(
    entering.size > 0 || isLeft ? 0 : undefined,
    leave.nextMs,
    patience.nextMs(performance.now()),
    isAlone(enrolment, (yield* Zds).connections()) ? LOOK_AGAIN_MS : undefined,
  );
  return {
    isThorough,
    ztunnels,
    inventory,
    truth,
    enrolment,
    needs,
    plan: attachPlan(needs),
    inventoryProblems,
    missing,
    dueMs,
  };
});

/** UIDs of the pods that cannot reach ztunnel now: they are pending, or it does not listen for them. */
const waitingPods = Effect.fnUntraced(function* ({ statuses, served }: Enrolment) {
  const enforcement = yield* Enforcement;
  const waiting = new Set(statuses.filter(({ state }) => state === 'pending').map(({ uid }) => uid));
  for (const { uid, cookie } of served)
    if (!waiting.has(uid) && (yield* enforcement.missingListeners(cookie)).length > 0) waiting.add(uid);
  return [...waiting];
});

// In milliseconds. ztunnel's connection may have closed a little before its listeners.
const LOOK_AGAIN_MS = 1000;

/** Whether no ztunnel is connected, although one has acknowledged pods. */
const isAlone = ({ served }: Enrolment, connections: readonly ZdsConnection[]): boolean =>
  connections.length === 0 && served.some(({ isAcknowledged }) => isAcknowledged);

function earliest(...times: readonly (number | undefined)[]): number | undefined {
  const known = times.filter((ms) => ms !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}

/** Writes the maps. */
export const applyPass = Effect.fnUntraced(function* (desired: DesiredMaps) {
  const enforcement = yield* Enforcement;
  const applied = yield* enforcement.apply(desired);
  yield* metrics.applied(applied.written, applied.removed);
  yield* countEntries(desired);
  return applied;
});

/** The same, with what refuses connections at the pods that have no entry. */
export function refusingUnwritten(decided: DecidedPass, { failures }: ApplyResult): DecidedPass {
  const { needs, enrolment, truth } = decided;
  const refused = refusedPods(failures, enrolment.desired, truth.workloads);
  return refused.length === 0 ? decided : { ...decided, plan: attachPlan({ ...needs, refused }) };
}

/** Serves the pods whose entries are written, lets those be reached for whom that is in force, and collects the result. */
export const finishPass = Effect.fnUntraced(function* (
  places: FinishPlaces,
  pass: EnforcedPass,
): Effect.fn.Return<PassResult, EnforcementError | StartupError, PassServices> {
  const { inventory, truth, enrolment, plan, applied, attached } = pass;
  const enforcement = yield* Enforcement;
  if (attached.failures.length === 0) yield* enforcement.detachOthers(plan);
  places.out.clear();
  for (const { uid, state, cgroups } of enrolment.statuses)
    if (state === 'out' && cgroups.length > 0) places.out.add(uid);
  const served = yield* servePods(places, pass);
  const failures = reportFailures(applied.failures, enrolment.desired);
  const known = knownNetns(truth);
  const reached = yield* reachPods(places, pass, { known, unwritten: failures.withoutNetns });
  const missing = yield* missingNow;
  const lacking = enforced(podsOf(enrolment.statuses), {
    desired: enrolment.desired,
    plan,
    unwritten: applied.failures,
    unattached: attached.failures,
    withoutInbound: served.unattached,
    problems: served.problems,
    missing,
  });
  const isOtherwise = rememberLacking(places.lacking, lacking);
  const statuses = enrolment.statuses.map((status) =>
    withFindings(status, lacking.get(status.uid) ?? [], served, reached.problems.get(status.uid)),
  );
  const ofNoPod = attached.failures.filter(
    ({ cgroupId }) => !statuses.some(({ cgroups: [podLevel] }) => podLevel?.id === String(cgroupId)),
  );
  const unsaid = yield* (yield* Announcements).publish(statuses, inventory);
  const zds = yield* Zds;
  const lostSocket = zds.lostSocket();
  return {
    statuses,
    ztunnels: pass.ztunnels,
    kubelets: truth.kubelets,
    hostNetnsCookie: truth.hostNetnsCookie,
    connections: zds.connections(),
    problems: [
      ...enforcement.problems(),
      ...(lostSocket === undefined ? [] : [lostSocket]),
      ...reached.ofGuard,
      ...pass.inventoryProblems,
      ...pass.ztunnels.problems,
      ...truth.problems,
      ...failures.others,
      ...served.others,
      ...ofNoPod.map(({ error }) => error.message),
      ...unsaid,
      ...(missing.length === 0 ? [] : [`the datapath is in force only in part: ${said(missing)}`]),
    ],
    applied,
    guard: (yield* NodeGuard).attached(),
    sighted: [...truth.workloads.values()].map(({ pod }) => ({ podUid: pod.podUid, runs: pod.containers.length > 0 })),
    known,
    plan,
    failureKinds: [...failures.kinds, ...attached.failures.map(() => 'attach')],
    repaired: [...repairedIn(pass, missing), ...served.repaired],
    missing,
    dueMs: pass.dueMs,
    isIncomplete:
      enrolment.isIncomplete ||
      isOtherwise ||
      applied.failures.length > 0 ||
      attached.failures.length > 0 ||
      missing.length > 0 ||
      reached.problems.size > 0 ||
      reached.isUntold ||
      served.isIncomplete,
  };
});

const servePods = Effect.fnUntraced(function* (
  { view, doneNetns }: FinishPlaces,
  { isThorough, ztunnels, truth, enrolment, applied, missing }: EnforcedPass,
) {
  const podNetns = yield* PodNetns;
  const present = ztunnels.pods.filter(({ uid }) => truth.workloads.has(uid));
  (yield* Zds).admit(new Map(present.map((pod) => [pod.uid, podName(pod)])));
  return yield* serve(enrolment.served, {
    isThorough,
    done: doneNetns,
    missing: new Set(missing.flatMap(({ netnsCookie }) => netnsCookie ?? [])),
    withoutWayIn: withoutWayIn(applied.failures, enrolment.desired),
    find: (netns) => view.findNetns(netns, podNetns.lend),
  });
});

/** For the next pass. Says whether other pods lack something than before: what this pass has decided rests on what the one before had found. */
function rememberLacking(before: Map<string, string>, lacking: ReadonlyMap<string, readonly string[]>): boolean {
  const isOtherwise = before.size !== lacking.size || [...before.keys()].some((uid) => !lacking.has(uid));
  before.clear();
  for (const [uid, [first]] of lacking) if (first !== undefined) before.set(uid, first);
  return isOtherwise;
}

/** What the guard has to know to see pods. Pure. */
export const firstFacts = (
  { inventory, truth }: Pick<DecidedPass, 'inventory' | 'truth'>,
  config: PassPlaces['config'],
): FirstFacts => ({
  namespaces: expectedNamespaces(inventory, config),
  podsParents: truth.podsParents.map(({ id }) => id),
});

/** Pods for whose listeners a thorough pass looks again, whatever was said of them: that takes a millisecond or two each. */
const LET_GO_AGAIN = 8;

/**
 * Tells the guard who may be reached now and who is to come, and lets the listeners go that it has held.
 * @returns what is wrong with the guard, why a pod cannot be reached, by UID, and whether it has to be told again
 */
const reachPods = Effect.fnUntraced(function* (
  { config, letGo }: FinishPlaces,
  { isThorough, inventory, truth, enrolment }: EnforcedPass,
  found: Pick<InForce, 'known' | 'unwritten'>,
) {
  const attached = yield* (yield* Enforcement).attachedNetns;
  const reachable = reachablePods(enrolment.statuses, { mode: config.mode, attached, ...found });
  const kept = yield* (yield* NodeGuard).keep({
    ...firstFacts({ inventory, truth }, config),
    reachable: reachable.map(({ id, netnsCookie }) => [id, netnsCookie] as const),
    awaited: enrolment.statuses.flatMap(({ code, uid }) => (code === 'no-cgroup' ? [uid] : [])),
    present: new Map([...truth.workloads.values()].map(({ pod }) => [pod.cgroupId, pod.cgroupPath] as const)),
    out: enrolment.statuses.flatMap(({ state, cgroups: [podLevel] }) =>
      state === 'out' && podLevel !== undefined ? [BigInt(podLevel.id)] : [],
    ),
  });
  if (isThorough) letGo.someAgain(LET_GO_AGAIN);
  const problems = yield* letListenersGo(letGo.due(reachable, kept.reachable), letGo, config.paths.proc);
  return { ofGuard: kept.problems, problems, isUntold: kept.isUntold };
});

/** What was missing before the pass, is still wanted, and is there again. */
function repairedIn(
  { missing: before, plan, enrolment }: EnforcedPass,
  after: readonly MissingPart[],
): readonly Repair[] {
  const inNetns = new Set(enrolment.served.map(({ cookie }) => cookie));
  return repairsOf(
    before,
    after,
    (part) => isPlanned(part, plan) && (part.netnsCookie === undefined || inNetns.has(part.netnsCookie)),
  );
}

const podsOf = (statuses: readonly WorkloadStatus[]): EnforcedPod[] =>
  statuses.flatMap(({ uid, cgroups: [podLevel], netnsCookie }) => {
    if (podLevel === undefined) return [];
    const place = { path: podLevel.path, id: BigInt(podLevel.id) };
    return [{ uid, place, netnsCookie: netnsCookie === undefined ? undefined : BigInt(netnsCookie) }];
  });

/** A pod is in the mesh only if everything is in force. */
function withFindings(
  status: WorkloadStatus,
  lacking: readonly string[],
  served: Served,
  unreachable: string | undefined,
): WorkloadStatus {
  const [first] = lacking;
  const isLess = status.state === 'in' && status.role === 'workload' && first !== undefined;
  const others = (served.problems.get(status.uid) ?? []).filter((text) => !lacking.includes(text));
  return {
    ...status,
    ...(isLess ? { state: 'pending' as const, code: 'not-in-force' as const, reason: `pending: ${first}` } : {}),
    ...(served.unattached.has(status.uid) ? { inbound: 'no' as const } : {}),
    problems: [...status.problems, ...lacking, ...others, ...(unreachable === undefined ? [] : [unreachable])],
  };
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
