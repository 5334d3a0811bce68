// The life of the agent once everything is open: a first pass, which takes over what exists, and then a pass on every hint.
import * as Duration from 'effect/Duration';
import * as Effect from 'effect/Effect';
import * as Stream from 'effect/Stream';
import type * as Scope from 'effect/Scope';
import type { Observable } from 'rxjs';
import { podName } from './inventory/model.js';
import { InventorySource } from './inventory/source.js';
import { messageOf } from './failure/message-of.js';
import { Enforcement } from './node/enforcement.js';
import { NodeGuard } from './node/guard.js';
import { checkPodPlumbing } from './pod-netns/check-pod-plumbing.js';
import { PodNetns } from './pod-netns/pod-netns.js';
import { watchedEvents } from './node/process-source.js';
import { StartupError } from './failure/startup-error.js';
import { refreshCopies, refreshCounters, refreshMismatch, refreshWorkloads, refreshZds } from './state/gauges.js';
import { metrics } from './observe/metrics.js';
import type { Readiness } from './observe/readiness.js';
import { fromObservable } from './streams/from-observable.js';
import {
  applyPass,
  attachedForAll,
  decidePass,
  finishPass,
  firstFacts,
  reconcilePass,
  refusingUnwritten,
  type PassPlaces,
  type PassResult,
  type PassServices,
} from './reconcile/pass.js';
import { withFormerRoutes } from './reconcile/former-routes.js';
import { LastLook } from './reconcile/missing.js';
import { watchMissing } from './reconcile/watch-missing.js';
import { PodHints } from './reconcile/pod-hints.js';
import { ProcessHints, type SettledPod, type WatchedEvent } from './reconcile/process-hints.js';
import { makeReconciler, type Reconciler } from './reconcile/reconciler.js';
import { Sightings, type Source } from './reconcile/sightings.js';
import { prepareAgain } from './reconcile/serve.js';
import { stockUp } from './reconcile/stock-up.js';
import type { StateKeeper } from './state/keeper.js';
import { Zds } from './zds/zds.js';

// How many process events may wait while a pass runs. In a storm, a large node has some 25 000 per second.
const EVENT_CAPACITY = 16_384;

/** The directories of cgroups whose new processes need no pass, because their pods are enrolled as far as they can be. Pure. */
export function settledCgroups({
  statuses,
  applied,
  known,
}: Pick<PassResult, 'statuses' | 'applied' | 'known'>): ReadonlyMap<string, SettledPod> {
  if (applied.failures.length > 0) return new Map();
  const settled = statuses.filter(
    ({ state, netnsCookie }) =>
      state === 'out' || state === 'unknown' || ((state === 'in' || state === 'pending') && netnsCookie !== undefined),
  );
  return new Map(
    settled.flatMap(({ uid, state, cgroups }) => {
      const netns = state === 'out' || state === 'unknown' ? undefined : known.get(uid);
      return cgroups.map(({ path }) => [path, { podUid: uid, netns }] as const);
    }),
  );
}

/** The callbacks of the ZDS server, filled in once there is a reconciler to call. */
export interface Hints {
  onZds: () => void;
}

/** What the HTTP server shows. */
export interface Exposed {
  readonly readiness: Readiness;
  refresh: Effect.Effect<void>;
}

/** Ends only if it is interrupted or the process events are lost. */
export const enrolForEver = (
  places: PassPlaces,
  keeper: StateKeeper,
  told: Hints,
  exposed: Exposed,
): Effect.Effect<never, StartupError, PassServices | Scope.Scope> =>
  Effect.gen(function* () {
    const { config, view } = places;
    const source = yield* InventorySource;
    const enforcement = yield* Enforcement;
    if (config.mode === 'inPod') yield* checkPodPlumbing(config);
    const zds = yield* Zds;
    const guard = yield* NodeGuard;
    const sightings = new Sightings();
    const hints = new ProcessHints(view, config.paths.proc, (uid) =>
      sightings.note('process-events', uid, performance.now()),
    );
    const podHints = new PodHints();
    const events = watchedEvents(config.paths.proc);
    let last: PassResult | undefined;
    exposed.readiness.unless(() =>
      last === undefined ? 'the datapath is not in force yet: no reconciliation has succeeded' : undefined,
    );
    const missing = new LastLook();
    exposed.readiness.unless(() => missing.whyNotReady());
    let failing: string | undefined;
    exposed.readiness.unless(() => failing);
    exposed.readiness.unless(() => zds.lostSocket());
    exposed.readiness.unless(() => {
      const expected = config.mode === 'inPod' ? (last?.ztunnels.pods ?? []) : [];
      if (expected.length === 0 || zds.connections().length > 0) return undefined;
      return `no ztunnel is connected at ${config.zds.socket}, although this node has ${expected.map(podName).join(', ')}`;
    });

    const onPass = Effect.fnUntraced(function* (result: PassResult, durationMs: number) {
      last = result;
      failing = undefined;
      const settled = settledCgroups(result);
      hints.settle(settled);
      hints.keep(new Set(result.sighted.map(({ podUid }) => podUid)));
      podHints.settle(new Set([...settled.values()].map(({ podUid }) => podUid)));
      const active = new Set<Source>([
        'process-events',
        ...(guard.attached().includes('cgroup_mkdir') ? (['guard'] as const) : []),
      ]);
      for (const { by, uid } of sightings.look(result.sighted, active, performance.now())) {
        yield* metrics.unseenPod(by);
        yield* Effect.logWarning('a source of hints has not shown a pod', { by, uid });
      }
      yield* Effect.forEach(result.failureKinds, metrics.error, { discard: true });
      yield* missing.take(result.missing);
      // While an entry was gone that says who may be reached, a listener may have been held.
      if (result.repaired.some(({ kind }) => kind === 'entry')) {
        places.letGo.allAgain();
        reconciler.request('missing');
      }
      yield* Effect.forEach(result.repaired, ({ kind, what }) =>
        Effect.andThen(metrics.repaired(kind), Effect.logWarning('put back what was missing', { kind, what })),
      );
      yield* refreshWorkloads(result.statuses);
      yield* keeper.passed(result, durationMs);
    });
    const reconciler = yield* makeReconciler({
      pass: (isThorough) => reconcilePass(places, isThorough),
      onPass: (result, why, durationMs) =>
        Effect.andThen(
          Effect.logDebug('reconciled', {
            why: [...why],
            durationMs,
            written: result.applied.written,
            removed: result.applied.removed,
          }),
          onPass(result, durationMs),
        ),
      onFailure: ({ kind, message }) => {
        failing = `reconciliation fails, and is tried again: ${message}`;
        return Effect.all(
          [
            metrics.error(kind),
            Effect.logError(`reconciliation failed, and will be tried again: ${message}`, { kind }),
            keeper.failed(failing),
          ],
          { discard: true },
        );
      },
      resyncIntervalMs: Duration.toMillis(config.resyncInterval),
    });

    // What an earlier agent has prepared goes on as it is, until this one has looked.
    for (const cookie of [...enforcement.routed().keys(), ...places.routedBefore])
      places.doneNetns.prepared.add(cookie);
    told.onZds = () => reconciler.request('zds');
    guard.listen((batch, dropped) => {
      for (const event of batch) if (event.kind === 'listener-late') places.letGo.again(event.cgroupId);
      if (dropped > 0) places.letGo.allAgain();
      for (const hint of podHints.of(batch, dropped, (uid) => sightings.note('guard', uid, performance.now())))
        reconciler.request(hint);
    });
    (yield* PodNetns).listen({
      lost: (cookie) => Effect.runSync(unroute(enforcement, cookie)),
      changed: (cookie) => {
        places.doneNetns.disturbed.add(cookie);
        reconciler.request('netns');
      },
    });
    exposed.refresh = Effect.all(
      [
        refreshCounters(enforcement, () => events.stats()),
        refreshZds(zds),
        refreshCopies(source),
        Effect.suspend(() => refreshMismatch(keeper.workloads)),
      ],
      { discard: true },
    );

    const main = Effect.gen(function* () {
      // The subscription to process events comes first, so that no process that starts during the first pass is missed.
      yield* Effect.yieldNow;
      const { first, attached, durationMs } = yield* takeOver(places);
      yield* onPass(first, durationMs);
      yield* Effect.logInfo('ready', {
        node: config.nodeName,
        mode: config.mode,
        cgroupRoot: view.resolver.cgroupRoot,
        ztunnel: first.ztunnels.ipv4 ?? first.ztunnels.ipv6,
        inMesh: first.statuses.filter(({ state }) => state === 'in').length,
        pending: first.statuses.filter(({ state }) => state === 'pending').length,
        adopted: enforcement.adopted.length > 0,
        attached: attached.attached.length,
        updated: attached.updated.length,
      });
      const { doneNetns, letGo } = places;
      return yield* Effect.raceFirst(
        reconciler.run(first),
        Effect.raceFirst(
          watchMissing({ last: missing, reconciler, doneNetns, letGo }),
          config.mode === 'inPod' ? stockUp : Effect.never,
        ),
      );
    });
    const inventoryHints = Stream.runForEach(source.changes, () => Effect.sync(() => reconciler.request('inventory')));
    return yield* Effect.raceFirst(
      main,
      Effect.all([processHints(events, hints, reconciler), Effect.andThen(inventoryHints, Effect.never)], {
        concurrency: 2,
      }).pipe(Effect.andThen(Effect.never)),
    );
  });

/** connect() refuses from now on what it would have marked in this namespace. */
const unroute = ({ setRouted }: Pick<Enforcement['Service'], 'setRouted'>, cookie: bigint): Effect.Effect<void> =>
  setRouted(cookie, new Map()).pipe(
    Effect.catch(({ _tag, message }) => Effect.andThen(metrics.error(_tag), Effect.logError(message))),
  );

/**
 * The first pass. The programs are attached between its halves, so that none of them ever runs on half-filled maps. Only what needs
 * them is written once they are there.
 */
const takeOver = Effect.fnUntraced(function* (places: PassPlaces) {
  const enforcement = yield* Enforcement;
  const started = performance.now();
  const failed = ({ _tag, message }: { readonly _tag: string; readonly message: string }): StartupError =>
    new StartupError({ check: _tag === 'NodeViewError' ? 'cgroup2' : 'datapath', message });
  const before = yield* Effect.mapError(decidePass(places, true), failed);
  const { desired } = before.enrolment;
  const meanwhile = withFormerRoutes(desired, places.routedBefore);
  const written = yield* Effect.mapError(applyPass(meanwhile ?? desired), failed);
  const decided = refusingUnwritten(before, written);
  yield* prepareAgain(decided.enrolment.served, places.doneNetns);
  // The programs find in the guard's maps whom it expects, on other maps than before, too.
  yield* Effect.mapError(enforcement.pinMaps, failed);
  yield* (yield* NodeGuard).begin(firstFacts(decided, places.config));
  const attached = yield* Effect.mapError(attachedForAll(decided, enforcement.activate(decided.plan)), failed);
  const applied = meanwhile === undefined ? written : yield* Effect.mapError(applyPass(desired), failed);
  const first = yield* finishPass(places, { ...decided, applied, attached }).pipe(
    Effect.mapError((error) => (error._tag === 'StartupError' ? error : failed(error))),
  );
  return { first, attached, durationMs: performance.now() - started };
});

const processHints = (
  events: Observable<WatchedEvent>,
  hints: ProcessHints,
  reconciler: Reconciler,
): Effect.Effect<never, StartupError, Scope.Scope> =>
  fromObservable(events, { capacity: EVENT_CAPACITY }).pipe(
    Stream.runForEachArray((events) =>
      Effect.gen(function* () {
        for (const hint of hints.of(events)) reconciler.request(hint);
        const laterMs = hints.takeLaterMs();
        if (laterMs === undefined) return;
        const later = Effect.sync(() => reconciler.request('pod-process'));
        yield* Effect.forkScoped(Effect.andThen(Effect.sleep(laterMs), later));
      }),
    ),
    Effect.mapError((error) => new StartupError({ check: 'process-events', message: messageOf(error) })),
    Effect.andThen(
      Effect.fail(
        new StartupError({ check: 'process-events', message: 'the process events ended; start the agent again' }),
      ),
    ),
  );
