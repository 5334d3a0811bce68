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
import { PodNetns } from '../pod-netns/pod-netns.js';

/** A pod whose listeners may be reached now. */
export interface ReachablePod {
  readonly uid: string;
  /** The pod-level cgroup. */
  readonly id: bigint;
  readonly path: string;
  /** Of the namespace in which; 0n for any. */
  readonly netnsCookie: bigint;
  /** Inodes of the namespaces that are known of it. */
  readonly known: ReadonlySet<bigint>;
}

const NOWHERE: ReadonlySet<bigint> = new Set();

/** What of the datapath is in force for who is reached. */
export interface InForce {
  readonly mode: AgentConfig['mode'];
  /** Cookies of the network namespaces in which the inbound program is attached. */
  readonly attached: ReadonlySet<bigint>;
  /** Ids of the pods whose namespace's entry is not as it should be: the inbound program may go by an older one. */
  readonly unwritten: ReadonlySet<bigint>;
  /** Inodes of the namespaces that are known of each pod, by UID. */
  readonly known: ReadonlyMap<string, ReadonlySet<bigint>>;
}

/** Those that are not wanted in the mesh, and those whose inbound connections are captured. Pure. */
export function reachablePods(
  statuses: readonly WorkloadStatus[],
  { mode, attached, unwritten, known }: InForce,
): ReachablePod[] {
  return statuses.flatMap(({ uid, state, netnsCookie, cgroups: [podLevel] }) => {
    if (podLevel === undefined) return [];
    const id = BigInt(podLevel.id);
    const isAnywhere = state === 'out' || (mode === 'node' && state !== 'unknown');
    const cookie = isAnywhere ? 0n : BigInt(netnsCookie ?? 0);
    const isCaptured = (state === 'in' || state === 'pending') && attached.has(cookie) && !unwritten.has(id);
    const pod = { uid, id, path: podLevel.path, netnsCookie: cookie };
    return isAnywhere || isCaptured ? [{ ...pod, known: known.get(uid) ?? NOWHERE }] : [];
  });
}

/**
 * Remembers whose listeners have been let go. What a reachable pod listens at is not held any more, so that once is enough, until a
 * namespace of it is another one or one more.
 */
export class LetGo {
  readonly #done = new Map<bigint, string>();

  /** Looks again, because a socket that was held has begun to listen late. */
  again(cgroupId: bigint): void {
    this.#done.delete(cgroupId);
  }

  /** The same for all pods, when it is not known which. */
  allAgain(): void {
    this.#done.clear();
  }

  /** The same for those whose turn is longest ago. */
  someAgain(most: number): void {
    for (const id of [...this.#done.keys()].slice(0, most)) this.#done.delete(id);
  }

  done(pod: ReachablePod): void {
    this.#done.delete(pod.id);
    this.#done.set(pod.id, whereOf(pod));
  }

  /**
   * Those whose turn it is; who is not reachable any more has another one.
   * @param told ids of those of which the guard knows that they are reachable: before, it lets none of their listeners go
   */
  due(reachable: readonly ReachablePod[], told: ReadonlySet<bigint>): ReachablePod[] {
    const ids = new Set(reachable.map(({ id }) => id));
    for (const id of this.#done.keys()) if (!ids.has(id)) this.#done.delete(id);
    return reachable.filter((pod) => told.has(pod.id) && this.#done.get(pod.id) !== whereOf(pod));
  }
}

const whereOf = ({ netnsCookie, known }: ReachablePod): string =>
  [netnsCookie, ...[...known].map(String).sort()].join();

/** Returns why some could not be let go, by UID. */
export const letListenersGo = Effect.fnUntraced(function* (
  pods: readonly ReachablePod[],
  letGo: LetGo,
  procPath: string,
) {
  const guard = yield* NodeGuard;
  const podNetns = yield* PodNetns;
  const problems = new Map<string, string>();
  for (const pod of pods) {
    const { uid, path } = pod;
    const own = podNetns.get(pod.netnsCookie);
    const all = [...namespacesOf(path, procPath)].map(([inode, file]) =>
      inode === own?.inode
        ? guard.letGo(own)
        : Effect.acquireUseRelease(
            Effect.sync(() => unlessGone(() => Netns.open(file))),
            (netns) => (netns === undefined ? Effect.succeed(0) : guard.letGo(netns)),
            (netns) => Effect.sync(() => netns?.close()),
          ),
    );
    // Who begins to listen late while this runs has another turn.
    letGo.done(pod);
    yield* Effect.all(all, { discard: true }).pipe(
      Effect.catch((error) =>
        Effect.sync(() => {
          letGo.again(pod.id);
          problems.set(uid, `its listeners cannot be reached: ${messageOf(error)}`);
        }),
      ),
    );
  }
  return problems;
});

/** A path to each network namespace that a process of the pod is in, by inode. */
function namespacesOf(cgroup: string, procPath: string): ReadonlyMap<bigint, string> {
  const byInode = new Map<bigint, string>();
  for (const pid of unlessGone(() => processesBelow(cgroup)) ?? []) {
    const path = join(procPath, String(pid), 'ns/net');
    const inode = unlessGone(() => statSync(path, { bigint: true }).ino);
    if (inode !== undefined) byInode.set(inode, path);
  }
  return byInode;
}

function unlessGone<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (['ENOENT', 'ESRCH', 'ESTALE'].includes(errorCode(error) ?? '')) return undefined;
    throw error;
  }
}
