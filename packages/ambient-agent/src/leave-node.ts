// The end of an agent that is uninstalled: every pod leaves the mesh in the ordinary order, and then everything of
// Sluice is removed from the node.
import * as Effect from 'effect/Effect';
import * as Result from 'effect/Result';
import type { AgentConfig } from './config/config.js';
import { cleanupNode } from './inspect/cleanup.js';
import { withdrawAnnouncements } from './inspect/withdraw-announcements.js';
import { messageOf } from './failure/message-of.js';
import { reconcilePass, type PassPlaces, type PassServices } from './reconcile/pass.js';
import { Zds } from './zds/zds.js';

/** A pass that could not do everything is repeated; what three passes cannot do is left to `sluice cleanup`. */
const PASSES = 3;
const BETWEEN_PASSES_MS = 500;
/** A ztunnel that has lost its agent connects again within 15 s (its inpod/workloadmanager.rs). */
const CONNECTED_WITHIN_MS = 20_000;
/** ztunnel answers in milliseconds, and the kubelet gives a minute for everything. */
const REMOVALS_WITHIN_MS = 5000;
const STEP_MS = 50;

/** Waits for a condition; false if it has not come true within that time. */
const wait = Effect.fnUntraced(function* (isSo: () => boolean, withinMs: number) {
  for (let waited = 0; !isSo() && waited < withinMs; waited += STEP_MS) yield* Effect.sleep(STEP_MS);
  return isSo();
});

/** Takes every pod out of the mesh, as if no selector matched: announcements, maps, ztunnel, network namespaces. */
export const leaveMesh = Effect.fnUntraced(function* (places: PassPlaces): Effect.fn.Return<void, never, PassServices> {
  const zds = yield* Zds;
  const wasServed = zds.facts().acknowledged.size > 0;
  let ztunnels = 0;
  const nobody: PassPlaces = { ...places, config: { ...places.config, enablementSelectors: [] } };
  for (let left = PASSES; left > 0; left -= 1) {
    const outcome = yield* Effect.result(reconcilePass(nobody, true));
    if (Result.isSuccess(outcome)) ztunnels = outcome.success.ztunnels.pods.length;
    if (Result.isSuccess(outcome) && outcome.success.statuses.some(({ code }) => code === 'leaving')) {
      yield* Effect.sleep(places.config.ambient.leaveGrace);
      left += 1;
      continue;
    }
    if (Result.isSuccess(outcome) && !outcome.success.isIncomplete) break;
    const problems = Result.isSuccess(outcome) ? outcome.success.problems : [outcome.failure.message];
    yield* Effect.logWarning('not every pod could leave the mesh in order', { problems });
    yield* Effect.sleep(BETWEEN_PASSES_MS);
  }
  // A ztunnel that is not connected goes on listening in the pods until its next snapshot, which has no pods.
  const isTold = (): boolean => zds.connections().some(({ isSynced }) => isSynced);
  if (wasServed && ztunnels > 0 && !(yield* wait(isTold, CONNECTED_WITHIN_MS)))
    yield* Effect.logWarning('no ztunnel is connected: it listens in the pods that it served until it is restarted');
  const hasLeft = yield* wait(() => zds.unacknowledgedRemovals() === 0, REMOVALS_WITHIN_MS);
  if (!hasLeft) yield* Effect.logWarning('ztunnel has not left every pod', { pods: zds.unacknowledgedRemovals() });
  yield* Effect.logInfo('every pod has left the mesh');
});

/** Runs after the agent has closed everything. Never fails; what is left is logged. */
export const removeFromNode = (config: Pick<AgentConfig, 'paths' | 'nodeName' | 'inventory'>): Effect.Effect<void> =>
  // If the server was slow, some announcements that leaveMesh() withdrew may still be there.
  cleanupNode(config.paths, { force: false, withdraw: withdrawAnnouncements(config) }).pipe(
    Effect.matchEffect({
      onFailure: (error) =>
        Effect.logError(
          `Sluice could not be removed from this node; run \`sluice cleanup\` on it: ${messageOf(error)}`,
        ),
      onSuccess: ({ withdrawn, detached, unpinned, restored, files, problems }) =>
        Effect.logInfo('removed from this node', {
          withdrawn: withdrawn.length,
          detached: detached.length,
          unpinned: unpinned.length,
          restored: restored.length,
          files: files.length,
          problems,
        }),
    }),
  );
