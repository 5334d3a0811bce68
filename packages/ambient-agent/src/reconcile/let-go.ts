// Lets the listeners of pods go that the guard has held while nobody had decided about them: when that is decided, and, for a pod of the
// mesh, when what comes in to it is captured.
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { processesBelow } from '@sluice/cgroup-resolver';
import { Netns, errorCode } from '@sluice/linux';
import * as Effect from 'effect/Effect';
import type { AgentConfig } from '../config/config.js';
import type { WorkloadStatus } from '../enrolment/status.js';
import { messageOf } from '../failure/message-of.js';
import { NodeGuard } from '../node/guard.js';

/** A pod whose listeners may be reached now. */
export interface ReachablePod {
  readonly uid: string;
  /** The pod-level cgroup. */
  readonly id: bigint;
  readonly path: string;
}

/** Remembers whose listeners have been let go: a pod's are held only while it has no entry, so that once is enough. */
export class LetGo {
  readonly #done = new Set<bigint>();

  /** Looks again, because a socket that was held has begun to listen late. */
  again(cgroupId: bigint): void {
    this.#done.delete(cgroupId);
  }

  done(cgroupId: bigint): void {
    this.#done.add(cgroupId);
  }

  /**
   * Those whose turn it is.
   * @param attached cookies of the network namespaces whose inbound connections are captured
   */
  due(
    statuses: readonly WorkloadStatus[],
    expected: ReadonlySet<bigint>,
    attached: ReadonlySet<bigint>,
    mode: AgentConfig['mode'],
  ): ReachablePod[] {
    for (const id of this.#done) if (!expected.has(id)) this.#done.delete(id);
    return statuses.flatMap(({ uid, state, netnsCookie, cgroups: [podLevel] }) => {
      if (podLevel === undefined) return [];
      const id = BigInt(podLevel.id);
      if (!expected.has(id) || this.#done.has(id)) return [];
      const isCaptured = mode === 'node' || (netnsCookie !== undefined && attached.has(BigInt(netnsCookie)));
      const isReachable = state === 'out' || ((state === 'in' || state === 'pending') && isCaptured);
      return isReachable ? [{ uid, id, path: podLevel.path }] : [];
    });
  }
}

/** Returns why some could not be let go, by UID. */
export const letListenersGo = Effect.fnUntraced(function* (
  pods: readonly ReachablePod[],
  letGo: LetGo,
  procPath: string,
) {
  const guard = yield* NodeGuard;
  const problems = new Map<string, string>();
  for (const { uid, id, path } of pods) {
    const all = namespacesOf(path, procPath).map((file) =>
      Effect.acquireUseRelease(
        Effect.sync(() => unlessGone(() => Netns.open(file))),
        (netns) => (netns === undefined ? Effect.succeed(0) : guard.letGo(netns)),
        (netns) => Effect.sync(() => netns?.close()),
      ),
    );
    yield* Effect.all(all, { discard: true }).pipe(
      Effect.matchEffect({
        onSuccess: () => Effect.sync(() => letGo.done(id)),
        onFailure: (error) =>
          Effect.sync(() => void problems.set(uid, `its listeners cannot be reached: ${messageOf(error)}`)),
      }),
    );
  }
  return problems;
});

/** A path to each network namespace that a process of the pod is in. */
function namespacesOf(cgroup: string, procPath: string): string[] {
  const byInode = new Map<bigint, string>();
  for (const pid of unlessGone(() => processesBelow(cgroup)) ?? []) {
    const path = join(procPath, String(pid), 'ns/net');
    const inode = unlessGone(() => statSync(path, { bigint: true }).ino);
    if (inode !== undefined) byInode.set(inode, path);
  }
  return [...byInode.values()];
}

function unlessGone<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (['ENOENT', 'ESRCH', 'ESTALE'].includes(errorCode(error) ?? '')) return undefined;
    throw error;
  }
}
