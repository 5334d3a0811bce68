// The agent as one program: it checks the node, builds its layers, and then runs passes. When it ends, the datapath stays in force,
// unless Sluice is uninstalled.
import type { ApiClient } from '@sluice/kubernetes';
import * as Duration from 'effect/Duration';
import * as Effect from 'effect/Effect';
import * as Layer from 'effect/Layer';
import type * as Scope from 'effect/Scope';
import { noAnnouncements, type Announcements } from './announce/announcements.js';
import { clusterAnnouncements } from './announce/cluster-announcements.js';
import type { AgentConfig } from './config/config.js';
import { enrolForEver, type Exposed, type Hints } from './enrol-for-ever.js';
import { kubernetesSource } from './inventory/kubernetes-source.js';
import { KnownPods, podsFile } from './inventory/known-pods.js';
import type { InventorySource } from './inventory/source.js';
import { staticSource } from './inventory/static-source.js';
import { openKubernetes } from './kubernetes-access.js';
import { leaveMesh, removeFromNode } from './leave-node.js';
import { checkBpffs, checkRoot, openResolver } from './node/checks.js';
import { lockedByAnother, takeLock, type HeldLock } from './run-directory/lock.js';
import { datapathEnforcement } from './node/enforcement.js';
import { holdingSocket } from './node/holding-socket.js';
import { nodeGuard } from './node/guard.js';
import { checkKernel } from './node/kernel-features.js';
import { NodeView } from './node/node-view.js';
import { isUninstalled } from './node/own-daemonset.js';
import type { StartupError } from './failure/startup-error.js';
import { followLogLevel } from './run-directory/log-level.js';
import { logging, LogThreshold } from './observe/log.js';
import { serveMetrics, serveMetricsOnceFree, type MetricsServerOptions } from './observe/metrics-server.js';
import { Readiness } from './observe/readiness.js';
import { recallNetns } from './pod-netns/find-changed.js';
import { podNetns } from './pod-netns/pod-netns.js';
import { Leaving } from './reconcile/leaving.js';
import { LingeringAddresses } from './reconcile/lingering-addresses.js';
import { ListenerSights } from './reconcile/listener-sights.js';
import { LetGo } from './reconcile/let-go.js';
import { LastingNeeds } from './reconcile/needs.js';
import { Patience } from './reconcile/patience.js';
import type { PassPlaces } from './reconcile/pass.js';
import { standBy } from './stand-by.js';
import { StateKeeper } from './state/keeper.js';
import { AGENT_VERSION } from './version.js';
import { acknowledgedBefore, routedBefore } from './state/acknowledged-before.js';
import { stateFile } from './state/state.js';
import { checkZdsSocket, noZds, takeZdsSocket } from './zds/zds.js';
import { zdsOnNode } from './zds/on-node.js';

/** Runs until it is interrupted. Fails if it cannot start, or if the process events are lost. */
export const runAgent = (config: AgentConfig): Effect.Effect<never, StartupError> =>
  Effect.suspend(() => {
    const threshold = new LogThreshold(config.log.level);
    const end: End = { isUninstall: false };
    return Effect.scoped(agent(config, threshold, end)).pipe(
      // This runs after everything is closed, so that no open handle is in the way.
      Effect.ensuring(Effect.suspend(() => (end.isUninstall ? removeFromNode(config) : Effect.void))),
      Effect.provide(logging(config.log, undefined, threshold)),
    );
  });

/** Why the agent ends; filled in when it does. */
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
    const free = yield* takeLock(config.paths.runDir);
    if (free === undefined && config.lock === 'fail') return yield* lockedByAnother(config.paths.runDir);
    const resolver = yield* openResolver(config);
    yield* checkBpffs(config.paths.bpffs);
    yield* checkKernel(config);
    if (config.mode === 'inPod' && free !== undefined) yield* checkZdsSocket(config.zds.socket);
    const client = config.inventory.source === 'kubernetes' ? yield* openKubernetes(config) : undefined;

    // Health is served first, because a kubelet that gets no answer would end an agent that waits for the API.
    const exposed: Exposed = { readiness: new Readiness(), refresh: Effect.void };
    const asked: Pick<MetricsServerOptions, 'refresh' | 'whyNotReady'> = {
      refresh: Effect.suspend(() => exposed.refresh),
      whyNotReady: () => exposed.readiness.reasons(),
    };
    const { listen, socket } = config.metrics;
    if (socket !== undefined) yield* serveMetrics({ path: socket, ...asked });
    if (listen !== undefined && free !== undefined) yield* serveMetrics({ ...listen, ...asked });

    const intent = intentAndAnnouncements(config, client, exposed.readiness);
    // One that stands by knows what the API has before it takes over. Files of the run directory are the other agent's until then.
    const source =
      free === undefined && client !== undefined ? Layer.succeedContext(yield* Layer.build(intent)) : intent;
    const lock = free ?? (yield* standBy(config, resolver.cgroupRoot));
    if (listen !== undefined && free === undefined) yield* serveMetricsOnceFree({ ...listen, ...asked });

    const { runDir, bpffs } = config.paths;
    yield* followLogLevel(runDir, threshold);
    const changedNetns = yield* recallNetns(runDir, resolver);
    const before = yield* stateFile(runDir).recall;
    // Before anything else: the agent that ends waits for this one to listen, and its own socket goes with it.
    const holding = yield* holdingSocket(config);
    const takesOver = free === undefined && config.mode === 'inPod';
    const listener = takesOver ? yield* takeZdsSocket(config.zds.socket, before?.zds?.socket) : undefined;
    // This is read before anything is opened: the maps that the kernel enforces now say which pods ztunnel had acknowledged.
    const acknowledged =
      config.mode === 'inPod' ? acknowledgedBefore(bpffs, changedNetns, before) : new Map<string, bigint>();
    const routed = config.mode === 'inPod' ? routedBefore(bpffs, before) : new Set<bigint>();
    const view = new NodeView(resolver, config);
    const places = { cgroupRoot: resolver.cgroupRoot, hostNetns: resolver.hostNetns, version: AGENT_VERSION };
    const keeper = new StateKeeper(config, places, stateFile(runDir), before);
    const hints: Hints = { onZds: () => {} };
    const base = Layer.mergeAll(
      source,
      datapathEnforcement(config, resolver.cgroupRoot, holding),
      nodeGuard(config, resolver.cgroupRoot),
      podNetns(config, changedNetns),
    );
    const isUninstall = client === undefined ? Effect.succeed(false) : yield* Effect.cached(isUninstalled(client));
    const zds =
      config.mode === 'inPod'
        ? zdsOnNode(config, resolver, {
            acknowledged,
            listener,
            onChange: () => hints.onZds(),
            beforeClose: (isReplaced) =>
              Effect.flatMap(isUninstall, (is) => (is ? Effect.void : handOver(lock, isReplaced))),
          })
        : noZds;
    const passes: PassPlaces = {
      view,
      config,
      doneNetns: {
        attached: new Set(),
        plumbed: new Map(),
        disturbed: new Set(),
        begun: new Set(),
        prepared: new Set(),
        listeners: new Map(),
      },
      sights: new ListenerSights(routed),
      lasting: new LastingNeeds(),
      known: new KnownPods(podsFile(runDir), yield* podsFile(runDir).recall),
      leaving: new Leaving(),
      lingering: new LingeringAddresses(),
      out: new Set(),
      lacking: new Map(),
      letGo: new LetGo(),
      patience: new Patience(Duration.toMillis(config.policy.holdLimit)),
      routedBefore: routed,
    };
    const running = enrolForEver(passes, keeper, hints, exposed).pipe(
      Effect.onInterrupt(() => Effect.flatMap(isUninstall, (is) => (is ? leaveMesh(passes) : Effect.void))),
    );
    return yield* Effect.provide(running, Layer.provideMerge(zds, base)).pipe(
      // This also runs if the agent was interrupted before its first pass.
      Effect.onInterrupt(() =>
        Effect.flatMap(isUninstall, (is) => {
          end.isUninstall = is;
          return Effect.logInfo(is ? 'stopped, and uninstalled' : 'stopped; the datapath stays in force');
        }),
      ),
    );
  });

/** How long the successor may take to listen, which it does before anything else. */
const HAND_OVER_WITHIN_MS = 2000;
const HAND_OVER_STEP_MS = 10;

/** Lets the agent that stands by begin, and waits until ztunnel's next connection goes there. */
const handOver = (lock: HeldLock, isReplaced: () => boolean): Effect.Effect<void> =>
  Effect.gen(function* () {
    if (!lock.isAwaited()) return;
    yield* lock.release;
    for (let waited = 0; !isReplaced() && waited < HAND_OVER_WITHIN_MS; waited += HAND_OVER_STEP_MS)
      yield* Effect.sleep(HAND_OVER_STEP_MS);
    yield* Effect.logInfo('handed over to the agent that stood by');
  });

/** The source of what is wanted, and the place to announce the result. */
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
  const source = kubernetesSource({
    client,
    nodeName,
    readiness,
    silenceMs: Duration.toMillis(inventory.watchSilence),
  });
  return Layer.merge(source, clusterAnnouncements({ client, nodeName, mode }));
};
