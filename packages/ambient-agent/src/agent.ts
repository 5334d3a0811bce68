// The agent as one program: checks, then layers, then the first pass, then passes for as long as it lives. When it ends, in
// whatever way, the datapath stays in force.
import * as Effect from 'effect/Effect';
import * as Layer from 'effect/Layer';
import * as Stream from 'effect/Stream';
import type * as Scope from 'effect/Scope';
import type { Observable } from 'rxjs';
import type { AgentConfig } from './config/config.js';
import { InventorySource } from './inventory/source.js';
import { staticSource } from './inventory/static-source.js';
import { checkBpffs, checkRoot, holdLock, messageOf, openResolver } from './node/checks.js';
import { datapathEnforcement, Enforcement } from './node/enforcement.js';
import { checkKernel, checkPodPlumbing } from './node/kernel-features.js';
import { NodeView } from './node/node-view.js';
import { watchedEvents } from './node/process-source.js';
import { StartupError } from './node/startup-error.js';
import { refreshCounters, refreshWorkloads, refreshZds } from './observe/gauges.js';
import { logging } from './observe/log.js';
import { metrics } from './observe/metrics.js';
import { serveMetrics } from './observe/metrics-server.js';
import { workloadStates } from './observe/workload-states.js';
import { podNetns } from './pod-netns/pod-netns.js';
import { fromObservable } from './reconcile/from-observable.js';
import {
  applyPass,
  finishPass,
  reconcilePass,
  type PassPlaces,
  type PassResult,
  type PassServices,
} from './reconcile/pass.js';
import { ProcessHints, type WatchedEvent } from './reconcile/process-hints.js';
import { makeReconciler, type Reconciler } from './reconcile/reconciler.js';
import { StateKeeper } from './state/keeper.js';
import { AGENT_VERSION } from './version.js';
import { acknowledgedBefore } from './zds/earlier.js';
import { checkZdsSocket, noZds, Zds } from './zds/zds.js';
import { zdsOnNode } from './zds/on-node.js';

// Process events that may wait while a pass runs: some 25 000 fit a storm of a second on a large node.
const EVENT_CAPACITY = 16_384;

/** Directories of cgroups in which a new process is no news: their pods are as enrolled as they can be. Pure. */
export function settledCgroups({ statuses, applied }: Pick<PassResult, 'statuses' | 'applied'>): ReadonlySet<string> {
  if (applied.failures.length > 0) return new Set();
  const settled = statuses.filter(
    ({ state, netnsCookie }) =>
      state === 'out' || state === 'unknown' || ((state === 'in' || state === 'pending') && netnsCookie !== undefined),
  );
  return new Set(settled.flatMap(({ cgroups }) => cgroups.map(({ path }) => path)));
}

/** Runs until it is interrupted. Fails with what kept it from starting, or with the loss of the process events. */
export const runAgent = (config: AgentConfig): Effect.Effect<never, StartupError> =>
  Effect.scoped(agent(config)).pipe(Effect.provide(logging(config.log)));

const agent = (config: AgentConfig): Effect.Effect<never, StartupError, Scope.Scope> =>
  Effect.gen(function* () {
    yield* checkRoot;
    if (config.inventory.source === 'kubernetes') {
      const message = 'the agent cannot read the Kubernetes API yet; use `inventory.source: static`';
      return yield* new StartupError({ check: 'inventory', message });
    }
    yield* holdLock(config.paths.runDir);
    const resolver = yield* openResolver(config);
    yield* checkBpffs(config.paths.bpffs);
    yield* checkKernel(config);
    if (config.mode === 'inPod') yield* checkZdsSocket(config.zds.socket);
    // Before anything is opened: what the kernel enforces now says whom ztunnel had taken on.
    const acknowledged = config.mode === 'inPod' ? acknowledgedBefore(config.paths) : new Map<string, bigint>();
    const view = new NodeView(resolver, config);
    const places = { cgroupRoot: resolver.cgroupRoot, hostNetns: resolver.hostNetns, version: AGENT_VERSION };
    const keeper = new StateKeeper(config, places);
    const hints: Hints = { onZds: () => {} };
    const base = Layer.mergeAll(
      staticSource({ directory: config.inventory.directory, runDir: config.paths.runDir }),
      datapathEnforcement(config, resolver.cgroupRoot),
      podNetns(config),
      workloadStates,
    );
    const zds = config.mode === 'inPod' ? zdsOnNode(config, resolver, acknowledged, () => hints.onZds()) : noZds;
    return yield* Effect.provide(enrolForEver(config, view, keeper, hints), Layer.provideMerge(zds, base));
  });

/** What is filled in once there is somebody to tell. */
interface Hints {
  onZds: () => void;
}

const enrolForEver = (
  config: AgentConfig,
  view: NodeView,
  keeper: StateKeeper,
  told: Hints,
): Effect.Effect<never, StartupError, PassServices | Scope.Scope> =>
  Effect.gen(function* () {
    const source = yield* InventorySource;
    const enforcement = yield* Enforcement;
    if (config.mode === 'inPod') yield* checkPodPlumbing(config, enforcement.loopbackFilterFd);
    const zds = yield* Zds;
    const places: PassPlaces = { view, config, doneNetns: { attached: new Set(), plumbed: new Set() } };
    const hints = new ProcessHints(view, config.paths.proc);
    const events = watchedEvents(config.paths.proc);
    let isReady = false;

    const onPass = Effect.fnUntraced(function* (result: PassResult, durationMs: number) {
      hints.settle(settledCgroups(result));
      for (const kind of result.failureKinds) {
        keeper.countError(kind);
        yield* metrics.error(kind);
      }
      yield* Effect.forEach(result.repaired, (what) => Effect.logWarning('put back what was missing', { what }));
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
        keeper.countError(kind);
        return Effect.andThen(
          metrics.error(kind),
          Effect.logError(`reconciliation failed, and will be tried again: ${message}`, { kind }),
        );
      },
      resyncIntervalMs: config.resyncIntervalMs,
    });

    told.onZds = () => reconciler.request('zds');

    const { listen } = config.metrics;
    if (listen !== undefined) {
      const refresh = Effect.andThen(
        refreshCounters(enforcement, () => events.stats()),
        refreshZds(zds),
      );
      const port = yield* serveMetrics({ ...listen, refresh, isReady: () => isReady });
      yield* Effect.logInfo('metrics are served', { host: listen.host, port });
    }

    const main = Effect.gen(function* () {
      // Let the subscription to process events come first: what starts during the first pass is then not missed.
      yield* Effect.yieldNow;
      const { first, attached, durationMs } = yield* takeOver(places);
      yield* onPass(first, durationMs);
      isReady = true;
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
      return yield* reconciler.run(first.isIncomplete);
    });
    const inventoryHints = Stream.runForEach(source.changes, () => Effect.sync(() => reconciler.request('inventory')));
    return yield* Effect.raceFirst(
      main,
      Effect.all([processHints(events, hints, reconciler), Effect.andThen(inventoryHints, Effect.never)], {
        concurrency: 2,
      }).pipe(Effect.andThen(Effect.never)),
    );
  }).pipe(Effect.onInterrupt(() => Effect.logInfo('stopped; the datapath stays in force')));

/** The first pass. The programs come between its halves: none of them ever runs on half-filled maps. */
const takeOver = Effect.fnUntraced(function* (places: PassPlaces) {
  const enforcement = yield* Enforcement;
  const started = performance.now();
  const failed = ({ _tag, message }: { readonly _tag: string; readonly message: string }): StartupError =>
    new StartupError({ check: _tag === 'NodeViewError' ? 'cgroup2' : 'datapath', message });
  const applied = yield* Effect.mapError(applyPass(places, true), failed);
  const attached = yield* Effect.mapError(enforcement.activate, failed);
  const first = yield* finishPass(places, applied).pipe(
    Effect.mapError((error) => (error._tag === 'StartupError' ? error : failed(error))),
  );
  return { first, attached, durationMs: performance.now() - started };
});

const processHints = (
  events: Observable<WatchedEvent>,
  hints: ProcessHints,
  reconciler: Reconciler,
): Effect.Effect<never, StartupError> =>
  fromObservable(events, { capacity: EVENT_CAPACITY }).pipe(
    Stream.runForEachArray((events) =>
      Effect.sync(() => {
        for (const hint of hints.of(events)) reconciler.request(hint);
      }),
    ),
    Effect.mapError((error) => new StartupError({ check: 'process-events', message: messageOf(error) })),
    Effect.andThen(
      Effect.fail(
        new StartupError({ check: 'process-events', message: 'the process events ended; start the agent again' }),
      ),
    ),
  );
