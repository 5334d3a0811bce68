// What `inPod` mode does in addition to the maps, in an order that never leaves a pod half captured: a namespace is plumbed and
// attached before ztunnel is told of it, and a pod that leaves goes through the reverse. When a step fails for a pod, only that
// pod stays pending.
import { isDeepStrictEqual } from 'node:util';
import type { NetnsRef } from '@sluice/cgroup-resolver';
import * as Effect from 'effect/Effect';
import * as Result from 'effect/Result';
import type { ServedPod } from '../enrolment/served.js';
import { Enforcement, type EnforcementError } from '../node/enforcement.js';
import type { StartupError } from '../failure/startup-error.js';
import type { PodNetnsError } from '../pod-netns/errors.js';
import type { ChangedNetns } from '../pod-netns/memory.js';
import type { WantedCapture } from '../pod-netns/netns-state.js';
import { PodNetns } from '../pod-netns/pod-netns.js';
import { Zds, type OfferedPod } from '../zds/zds.js';
import type { Repair } from './missing.js';
import { recapture, type SeenListeners } from './recapture.js';

/** Cookies of namespaces. */
export interface DoneNetns {
  /** The namespaces to which this agent attached its own program. */
  readonly attached: Set<bigint>;
  /** The namespaces that are plumbed, and how; the one that was checked longest ago comes first. */
  readonly plumbed: Map<bigint, WantedCapture>;
  /** The namespaces in which something was changed that has not been looked at since. */
  readonly disturbed: Set<bigint>;
  /** The namespaces that were prepared before the maps had their pods, whatever came of it. */
  readonly begun: Set<bigint>;
  /** The namespaces in which marked connections have reached ztunnel. */
  readonly prepared: Set<bigint>;
  /** Of the pods that ztunnel has acknowledged. */
  readonly listeners: SeenListeners;
}

export interface ServeOptions {
  /** Whether to check that what was done before is still there. */
  readonly isThorough: boolean;
  /** What this agent has done already; this pass adds to it. */
  readonly done: DoneNetns;
  /** Cookies of the namespaces whose inbound program somebody has taken away. */
  readonly missing: ReadonlySet<bigint>;
  /** Cookies of the namespaces that must not get the inbound program yet (`withoutWayIn` of without-entry.ts). */
  readonly withoutWayIn: ReadonlySet<bigint>;
  /** Finds the namespace of a pod that is no longer served; undefined if it is gone. */
  readonly find: (netns: ChangedNetns) => NetnsRef | 'unknown' | undefined;
}

export interface Served {
  /** The problems of each pod, by UID. */
  readonly problems: ReadonlyMap<string, readonly string[]>;
  /** UIDs of pods whose inbound connections are not captured. */
  readonly unattached: ReadonlySet<string>;
  /** Problems that belong to no served pod. */
  readonly others: readonly string[];
  /** What was missing in the namespaces and has been put back. */
  readonly repaired: readonly Repair[];
  readonly isIncomplete: boolean;
}

// A check takes some 10 ms, and all pods of a full node would take seconds. So each thorough pass checks only some.
const CHECKED_AT_ONCE = 8;

type Services = Enforcement | PodNetns | Zds;

/** Runs after the maps are written, when a new pod is held and one that left connects directly. */
export const serve = Effect.fnUntraced(function* (
  pods: readonly ServedPod[],
  options: ServeOptions,
): Effect.fn.Return<Served, EnforcementError | StartupError, Services> {
  const enforcement = yield* Enforcement;
  const zds = yield* Zds;
  const problems = new Map<string, string[]>();
  const complain = (uid: string, text: string): void => {
    problems.set(uid, [...(problems.get(uid) ?? []), text]);
  };

  const known = yield* enforcement.attachedNetns;
  const attached = new Set([...known].filter((cookie) => !options.missing.has(cookie)));
  const checked = options.isThorough ? [...options.done.plumbed.keys()].slice(0, CHECKED_AT_ONCE) : [];
  const due = new Set([...checked, ...options.done.disturbed]);
  const wasPrepared = new Set(options.done.prepared);
  const prepared = new Set<bigint>();
  const repaired: Repair[] = [];
  for (const cookie of options.missing) options.done.attached.delete(cookie);
  for (const pod of pods) {
    const isReachable = attached.has(pod.cookie) || !options.withoutWayIn.has(pod.cookie);
    if (!isReachable) complain(pod.uid, NOT_REACHABLE);
    const outcome = yield* Effect.result(
      prepare(pod, attached, options.done, { isDue: due.has(pod.cookie), isReachable }),
    );
    if (Result.isFailure(outcome)) complain(pod.uid, outcome.failure.message);
    else {
      prepared.add(pod.cookie);
      repaired.push(...outcome.success);
    }
    // The process events must not wait for all pods of a full node.
    yield* Effect.yieldNow;
  }

  const served = new Set(pods.map(({ cookie }) => cookie));
  const others = yield* detachOthers(known, served, options.done);
  const offer = yield* zds.offer(yield* offered(pods, prepared));
  for (const [uid, text] of offer.problems) complain(uid, text);
  const restored = yield* restoreOthers(served, options);
  yield* (yield* PodNetns).closeUnused(served);

  const acknowledged = pods.filter(({ isAcknowledged }) => isAcknowledged);
  const recaptured = yield* recapture(acknowledged, options.done.listeners);
  for (const [uid, text] of recaptured.unheard) complain(uid, text);
  repaired.push(...recaptured.repaired);
  const after = new Set([...attached, ...options.done.attached]);
  return {
    problems,
    unattached: new Set(pods.filter(({ cookie }) => !after.has(cookie)).map(({ uid }) => uid)),
    others: [...others, ...restored],
    repaired,
    // Another pass lets those into the mesh that were pending because the inbound program was gone, and lets those be captured by route that
    // are prepared now, and by rewrite that are not any more. Nothing else need come to ask for it.
    isIncomplete:
      problems.size > 0 ||
      others.length > 0 ||
      restored.length > 0 ||
      acknowledged.some(({ cookie }) => !attached.has(cookie) && after.has(cookie)) ||
      recaptured.hasCaptured ||
      pods.some(({ cookie }) => wasPrepared.has(cookie) && !options.done.prepared.has(cookie)) ||
      [...options.done.prepared].some((cookie) => !wasPrepared.has(cookie)),
  };
});

const NOT_REACHABLE =
  'the inbound program is not attached yet: nobody would reach the pod, because netns_info_map has no entry for its network namespace';

/**
 * Opens the pod's namespace, plumbs it, and attaches the inbound program.
 * @param isDue whether to look at what was done before
 * @param isReachable whether the inbound program would let in what the pod's entries say
 */
const prepare = Effect.fnUntraced(function* (
  pod: ServedPod,
  attached: ReadonlySet<bigint>,
  done: DoneNetns,
  { isDue, isReachable }: { readonly isDue: boolean; readonly isReachable: boolean },
): Effect.fn.Return<readonly Repair[], PodNetnsError | EnforcementError, Enforcement | PodNetns> {
  const enforcement = yield* Enforcement;
  const podNetns = yield* PodNetns;
  const { cookie } = pod;
  const isAttached = done.attached.has(cookie) && attached.has(cookie);
  const wanted = wantedCapture(pod, done);
  const wasPlumbed = done.plumbed.has(cookie);
  if (isAttached && isDeepStrictEqual(done.plumbed.get(cookie), wanted) && !isDue) return [];
  // An earlier agent attached this one, and no process shows the namespace now; what is there stays in force.
  if (pod.netns === undefined && podNetns.get(cookie) === undefined && attached.has(cookie)) return [];
  const { netns, plumbed } = yield* plumb(pod, wanted, done);
  // The program is attached even if that failed, because a pending pod is held in both directions.
  if (!isAttached && isReachable) {
    yield* enforcement.attachNetns(netns);
    done.attached.add(cookie);
  }
  // It is added again at the end, as the one that was checked last.
  done.plumbed.delete(cookie);
  const { repaired } = yield* Effect.fromResult(plumbed);
  done.plumbed.set(cookie, wanted);
  return wasPlumbed
    ? repaired.map(({ kind, name }) => ({
        kind,
        what: `${name} in the network namespace of pod ${pod.namespace}/${pod.name}`,
      }))
    : [];
});

/**
 * Does for pods that are new what {@link serve} does, before the maps have them. A failure is left to serve, which tries again and says so.
 * Returns whether the connections of more pods can be captured by route now.
 */
export const prepareNew = Effect.fnUntraced(function* (pods: readonly ServedPod[], done: DoneNetns) {
  const known = done.prepared.size;
  for (const pod of pods) {
    const { cookie, netns } = pod;
    if (netns === undefined || done.begun.has(cookie) || done.attached.has(cookie) || done.prepared.has(cookie))
      continue;
    done.begun.add(cookie);
    yield* Effect.result(prepare(pod, new Set(), done, { isDue: false, isReachable: true }));
  }
  return done.prepared.size > known;
});

/** Opens the pod's namespace, makes it as wanted, and tells the datapath where marked connections reach ztunnel. */
const plumb = Effect.fnUntraced(function* (pod: ServedPod, wanted: WantedCapture, done: DoneNetns) {
  const enforcement = yield* Enforcement;
  const podNetns = yield* PodNetns;
  const { cookie } = pod;
  const netns = yield* podNetns.open(pod);
  // What changes from here on is for the next pass.
  done.disturbed.delete(cookie);
  const plumbed = yield* Effect.result(podNetns.apply(cookie, wanted));
  // Marked connections may be let go only after what leads them to ztunnel has been seen.
  const routed = podNetns.routed(cookie);
  yield* enforcement.setRouted(cookie, routed);
  if (routed.size > 0) done.prepared.add(cookie);
  else done.prepared.delete(cookie);
  return { netns, plumbed };
});

/**
 * Looks into the namespaces that an earlier agent had prepared and of which the maps of this one say nothing, because theirs could not be
 * shared. Without that, new programs would refuse connections there, and a pod that is captured by rewrite now would lose the routes of
 * those that are open. A failure is left to {@link serve}, which tries again.
 */
export const prepareAgain = Effect.fnUntraced(function* (pods: readonly ServedPod[], done: DoneNetns) {
  const enforcement = yield* Enforcement;
  const podNetns = yield* PodNetns;
  const known = enforcement.routed();
  for (const pod of pods) {
    if (known.has(pod.cookie)) continue;
    const hasRules =
      podNetns.get(pod.cookie) === undefined ? undefined : yield* Effect.result(podNetns.hasCaptureRules(pod.cookie));
    if (hasRules !== undefined && Result.isSuccess(hasRules) && hasRules.success) done.prepared.add(pod.cookie);
    if (done.prepared.has(pod.cookie)) yield* Effect.result(plumb(pod, wantedCapture(pod, done), done));
  }
});

/**
 * The namespace of a pod that may be captured by route is prepared for it while it is captured by rewrite. One that was prepared stays
 * so until the pod leaves, because established connections of its keep the mark.
 */
const wantedCapture = ({ cookie, isRoutable, ips }: ServedPod, { prepared }: DoneNetns): WantedCapture =>
  isRoutable || prepared.has(cookie) ? { by: 'route', podIps: ips } : { by: 'rewrite' };

/** The pods for ztunnel: those that are decided and prepared, and those that it has acknowledged, in whatever condition. */
const offered = Effect.fnUntraced(function* (pods: readonly ServedPod[], prepared: ReadonlySet<bigint>) {
  const podNetns = yield* PodNetns;
  return pods.flatMap((pod): OfferedPod[] => {
    const { uid, name, namespace, serviceAccount, cookie } = pod;
    if (!pod.isAcknowledged && !(pod.isOffered && prepared.has(cookie))) return [];
    return [{ uid, name, namespace, serviceAccount, cookie, netns: podNetns.get(cookie) ?? 'unknown' }];
  });
});

const detachOthers = Effect.fnUntraced(function* (
  attached: ReadonlySet<bigint>,
  served: ReadonlySet<bigint>,
  done: DoneNetns,
) {
  const enforcement = yield* Enforcement;
  const problems: string[] = [];
  for (const cookie of done.begun) if (!served.has(cookie)) done.begun.delete(cookie);
  for (const cookie of done.plumbed.keys())
    if (!served.has(cookie) && !attached.has(cookie)) done.plumbed.delete(cookie);
  for (const cookie of attached) {
    if (served.has(cookie)) continue;
    const outcome = yield* Effect.result(enforcement.detachNetns(cookie));
    done.attached.delete(cookie);
    done.plumbed.delete(cookie);
    done.disturbed.delete(cookie);
    done.prepared.delete(cookie);
    if (Result.isFailure(outcome)) problems.push(outcome.failure.message);
  }
  for (const cookie of enforcement.routed().keys()) {
    if (served.has(cookie)) continue;
    const outcome = yield* Effect.result(enforcement.setRouted(cookie, new Map()));
    if (Result.isFailure(outcome)) problems.push(outcome.failure.message);
  }
  return problems;
});

const restoreOthers = Effect.fnUntraced(function* (served: ReadonlySet<bigint>, { find }: ServeOptions) {
  const podNetns = yield* PodNetns;
  const problems: string[] = [];
  for (const [cookie, netns] of podNetns.changed()) {
    if (served.has(cookie)) continue;
    const seen = podNetns.get(cookie) === undefined ? find(netns) : undefined;
    // The pod exists and cannot be looked into, so the next pass tries again.
    if (seen === 'unknown') continue;
    const outcome = yield* Effect.result(podNetns.restore(cookie, seen));
    if (Result.isFailure(outcome)) problems.push(outcome.failure.message);
  }
  return problems;
});
