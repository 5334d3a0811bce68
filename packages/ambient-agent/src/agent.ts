// The agent as one program: checks, then layers, then the first pass, then passes for as long as it lives. When it ends, the
// datapath stays in force, unless it is uninstalled.
import type { ApiClient } from '@sluice/kubernetes';
import * as Effect from 'effect/Effect';
import * as Layer from 'effect/Layer';
import * as Stream from 'effect/Stream';
import type * as Scope from 'effect/Scope';
import type { Observable } from 'rxjs';
import { noAnnouncements, type Announcements } from './announce/announcements.js';
import { clusterAnnouncements } from './announce/cluster-announcements.js';
import type { AgentConfig } from './config/config.js';
import { kubernetesSource } from './inventory/kubernetes-source.js';
import { podName } from './inventory/model.js';
import { InventorySource } from './inventory/source.js';
import { staticSource } from './inventory/static-source.js';
import { openKubernetes } from './kubernetes-access.js';
import { leaveMesh, removeFromNode } from './leave-node.js';
import { checkBpffs, checkRoot, holdLock, messageOf, openResolver } from './node/checks.js';
import { datapathEnforcement, Enforcement } from './node/enforcement.js';
import { checkKernel, checkPodPlumbing } from './node/kernel-features.js';
import { NodeView } from './node/node-view.js';
import { isUninstalled } from './node/own-daemonset.js';
import { watchedEvents } from './node/process-source.js';
import { StartupError } from './node/startup-error.js';
import { refreshCopies, refreshCounters, refreshWorkloads, refreshZds } from './observe/gauges.js';
import { followLogLevel } from './observe/log-level.js';
import { logging, LogThreshold } from './observe/log.js';
import { metrics } from './observe/metrics.js';
import { serveMetrics } from './observe/metrics-server.js';
import { Readiness } from './observe/readiness.js';
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
  Effect.suspend(() => {
    const threshold = new LogThreshold(config.log.level);
    const end: End = { isUninstall: false };
    return Effect.scoped(agent(config, threshold, end)).pipe(
      // Only now is nothing open any more that would be in the way.
      Effect.ensuring(Effect.suspend(() => (end.isUninstall ? removeFromNode(config) : Effect.void))),
      Effect.provide(logging(config.log, undefined, threshold)),
    );
  });

/** What is known of the end when it has come. */
interface End {
  isUninstall: boolean;
}

const agent = (
  config: AgentConfig,
  threshold: LogThreshold,
  end: End,
): Effect.Effect<never, StartupError, Scope.Scope> =>
  Effect.gen(function* () {
    yield* checkRoot;
    yield* holdLock(config.paths.runDir);
    yield* followLogLevel(config.paths.runDir, threshold);
    const resolver = yield* openResolver(config);
    yield* checkBpffs(config.paths.bpffs);
    yield* checkKernel(config);
    if (config.mode === 'inPod') yield* checkZdsSocket(config.zds.socket);
    const client = config.inventory.source === 'kubernetes' ? yield* openKubernetes(config) : undefined;

    // Health is served before there is any: a kubelet that hears nothing would end an agent that waits for the API.
    const exposed: Exposed = { readiness: new Readiness(), refresh: Effect.void };
    const { listen } = config.metrics;
    if (listen !== undefined) {
      const refresh = Effect.suspend(() => exposed.refresh);
      const port = yield* serveMetrics({ ...listen, refresh, whyNotReady: () => exposed.readiness.reasons() });
      yield* Effect.logInfo('metrics are served', { host: listen.host, port });
    }

    // Before anything is opened: what the kernel enforces now says whom ztunnel had taken on.
    const acknowledged = config.mode === 'inPod' ? acknowledgedBefore(config.paths) : new Map<string, bigint>();
    const view = new NodeView(resolver, config);
    const places = { cgroupRoot: resolver.cgroupRoot, hostNetns: resolver.hostNetns, version: AGENT_VERSION };
    const keeper = new StateKeeper(config, places);
    const hints: Hints = { onZds: () => {} };
    const base = Layer.mergeAll(
      intentAndAnnouncements(config, client, exposed.readiness),
      datapathEnforcement(config, resolver.cgroupRoot),
      podNetns(config),
    );
    const zds = config.mode === 'inPod' ? zdsOnNode(config, resolver, acknowledged, () => hints.onZds()) : noZds;
    const isUninstall = client === undefined ? Effect.succeed(false) : yield* Effect.cached(isUninstalled(client));
    const passes: PassPlaces = { view, config, doneNetns: { attached: new Set(), plumbed: new Set() } };
    const running = enrolForEver(passes, keeper, hints, exposed).pipe(
      Effect.onInterrupt(() => Effect.flatMap(isUninstall, (is) => (is ? leaveMesh(passes) : Effect.void))),
    );
    return yield* Effect.provide(running, Layer.provideMerge(zds, base)).pipe(
      // Also when it had not got so far as to run.
      Effect.onInterrupt(() =>
        Effect.flatMap(isUninstall, (is) => {
          end.isUninstall = is;
          return Effect.logInfo(is ? 'stopped, and uninstalled' : 'stopped; the datapath stays in force');
        }),
      ),
    );
  });

/** Where it is read what is wanted, and where it is said what has come of it. */
const intentAndAnnouncements = (
  config: AgentConfig,
  client: ApiClient | undefined,
  readiness: Readiness,
): Layer.Layer<InventorySource | Announcements, StartupError> => {
  const { nodeName, inventory, paths, mode } = config;
  if (client === undefined) {
    const source = staticSource({ directory: inventory.directory, runDir: paths.runDir });
    return Layer.merge(source, noAnnouncements);
  }
  const source = kubernetesSource({ client, nodeName, readiness, silenceMs: inventory.watchSilenceMs });
  // In `node` mode a pod cannot be sent HBONE: nobody listens for it there.
  return Layer.merge(source, mode === 'inPod' ? clusterAnnouncements({ client, nodeName }) : noAnnouncements);
};

/** What is filled in once there is somebody to tell. */
interface Hints {
  onZds: () => void;
}

/** What is shown to whoever asks over HTTP. */
interface Exposed {
  readonly readiness: Readiness;
  refresh: Effect.Effect<void>;
}

const enrolForEver = (
  places: PassPlaces,
  keeper: StateKeeper,
  told: Hints,
  exposed: Exposed,
): Effect.Effect<never, StartupError, PassServices | Scope.Scope> =>
  Effect.gen(function* () {
    const { config, view } = places;
    const source = yield* InventorySource;
    const enforcement = yield* Enforcement;
    if (config.mode === 'inPod') yield* checkPodPlumbing(config, enforcement.loopbackFilterFd);
    const zds = yield* Zds;
    const hints = new ProcessHints(view, config.paths.proc);
    const events = watchedEvents(config.paths.proc);
    let last: PassResult | undefined;
    exposed.readiness.unless(() =>
      last === undefined ? 'the datapath is not in force yet: no reconciliation has succeeded' : undefined,
    );
    exposed.readiness.unless(() => {
      const expected = config.mode === 'inPod' ? (last?.ztunnels.pods ?? []) : [];
      if (expected.length === 0 || zds.connections().length > 0) return undefined;
      return `no ztunnel is connected at ${config.zds.socket}, and there ought to be: ${expected.map(podName).join(', ')}`;
    });

    const onPass = Effect.fnUntraced(function* (result: PassResult, durationMs: number) {
      last = result;
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
    exposed.refresh = Effect.all(
      [refreshCounters(enforcement, () => events.stats()), refreshZds(zds), refreshCopies(source)],
      { discard: true },
    );

    const main = Effect.gen(function* () {
      // Let the subscription to process events come first: what starts during the first pass is then not missed.
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
      return yield* reconciler.run(first.isIncomplete);
    });
    const inventoryHints = Stream.runForEach(source.changes, () => Effect.sync(() => reconciler.request('inventory')));
    return yield* Effect.raceFirst(
      main,
      Effect.all([processHints(events, hints, reconciler), Effect.andThen(inventoryHints, Effect.never)], {
        concurrency: 2,
      }).pipe(Effect.andThen(Effect.never)),
    );
  });

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
