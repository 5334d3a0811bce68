// Tells the owner of a pod, by an Event, that the pod is not in the mesh although it ought to be, or that it has a problem there.
// Passing problems are left out, and nothing is repeated often.
import type { PodEvent, PodReference } from '@sluice/kubernetes';
import * as Clock from 'effect/Clock';
import * as Effect from 'effect/Effect';
import type { WorkloadStatus } from '../enrolment/status.js';

/**
 * How long a pod may be pending before that is worth an Event, in milliseconds. While ztunnel is rolled out, or the pod's network
 * is being made, nothing is wrong with the pod.
 */
const PATIENCE_MS = 30_000;
/** The same for a problem. */
const PROBLEM_PATIENCE_MS = 10_000;
/** After how long the same Event is repeated, in milliseconds. Events are kept for an hour. */
const REPEAT_MS = 3_600_000;

/** The pod is wanted in the mesh and is not served there. */
export const NOT_ENROLLED = 'NotInMesh';
/** The pod is in the mesh, and has a problem. */
export const PARTLY_ENROLLED = 'MeshProblem';

interface Known {
  /** Since when the pod is pending, for whatever reason; undefined if it is not. */
  waitsSinceMs: number | undefined;
  /** Since when it has each of its problems. */
  problems: ReadonlyMap<string, number>;
  readonly told: Map<string, { readonly message: string; readonly atMs: number }>;
}

export class PodWarnings {
  readonly #record: (pod: PodReference, event: PodEvent) => Effect.Effect<unknown>;
  readonly #pods = new Map<string, Known>();

  constructor(record: (pod: PodReference, event: PodEvent) => Effect.Effect<unknown>) {
    this.#record = record;
  }

  /**
   * Takes the statuses of all pods of the node, after each pass.
   * @param isDeleting whether a pod is being deleted. Its network is taken apart while the API still lists it, sometimes for a
   *   minute, and nobody needs an Event about that
   */
  look(statuses: readonly WorkloadStatus[], isDeleting: (uid: string) => boolean = () => false): Effect.Effect<void> {
    return Effect.flatMap(Clock.monotonicTimeNanos, (now) => {
      const nowMs = Number(now / 1_000_000n);
      const staying = statuses.filter(({ uid }) => !isDeleting(uid));
      const named = new Set(staying.map(({ uid }) => uid));
      for (const uid of this.#pods.keys()) if (!named.has(uid)) this.#pods.delete(uid);
      return Effect.forEach(staying, (status) => this.#lookAt(status, nowMs), { discard: true });
    });
  }

  #lookAt(status: WorkloadStatus, nowMs: number): Effect.Effect<unknown> {
    const { uid, namespace, name, state, role, reason, problems } = status;
    if (role === 'ztunnel' || (state !== 'in' && state !== 'pending')) {
      this.#pods.delete(uid);
      return Effect.void;
    }
    const known: Known = this.#pods.get(uid) ?? { waitsSinceMs: undefined, problems: new Map(), told: new Map() };
    this.#pods.set(uid, known);
    known.waitsSinceMs = state === 'in' ? undefined : (known.waitsSinceMs ?? nowMs);
    const before = known.problems;
    known.problems = new Map(problems.map((text) => [text, before.get(text) ?? nowMs]));
    const lasting = [...known.problems].filter(([, sinceMs]) => nowMs - sinceMs >= PROBLEM_PATIENCE_MS);
    const pod = { namespace, name, uid };
    if (lasting.length > 0) {
      const message = lasting.map(([text]) => text).join('; ');
      return this.#tell(known, pod, state === 'in' ? PARTLY_ENROLLED : NOT_ENROLLED, message, nowMs);
    }
    const hasWaited = known.waitsSinceMs !== undefined && nowMs - known.waitsSinceMs >= PATIENCE_MS;
    return hasWaited ? this.#tell(known, pod, NOT_ENROLLED, reason, nowMs) : Effect.void;
  }

  #tell({ told }: Known, pod: PodReference, reason: string, message: string, nowMs: number): Effect.Effect<unknown> {
    const before = told.get(reason);
    if (before?.message === message && nowMs - before.atMs < REPEAT_MS) return Effect.void;
    told.set(reason, { message, atMs: nowMs });
    return this.#record(pod, { type: 'Warning', reason, message: `Sluice: ${message}` });
  }
}
