// What the owner of a pod is told by an Event on it: that it is not in the mesh although it ought to be, or not as it
// ought to be. Passing troubles are not told, and none is told over and over.
import type { PodEvent, PodReference } from '@sluice/kubernetes';
import type { WorkloadStatus } from '../enrolment/status.js';

export interface PodWarningsOptions {
  readonly record: (pod: PodReference, event: PodEvent) => void;
  /** How long a pod may wait before that is worth an Event, in milliseconds. */
  readonly patienceMs?: number;
  /** The same for something that is wrong with it. */
  readonly problemPatienceMs?: number;
  /** In ms; for tests. */
  readonly now?: () => number;
}

/** A ztunnel that is rolled out, or a pod whose network is being made, is no trouble of the pod's. */
const PATIENCE_MS = 30_000;
const PROBLEM_PATIENCE_MS = 10_000;
/** The same words are told again after so long, in milliseconds: Events are kept for an hour. */
const REPEAT_MS = 3_600_000;

/** It is wanted in the mesh and is not served there. */
export const NOT_ENROLLED = 'NotInMesh';
/** It is in the mesh, and something about it is not as it ought to be. */
export const PARTLY_ENROLLED = 'MeshProblem';

interface Known {
  /** Since when it waits, for whatever reason; undefined: it does not. */
  waitsSinceMs: number | undefined;
  /** Since when each of its problems is there. */
  problems: ReadonlyMap<string, number>;
  readonly told: Map<string, { readonly message: string; readonly atMs: number }>;
}

export class PodWarnings {
  readonly #options: Required<PodWarningsOptions>;
  readonly #pods = new Map<string, Known>();

  constructor(options: PodWarningsOptions) {
    this.#options = {
      patienceMs: PATIENCE_MS,
      problemPatienceMs: PROBLEM_PATIENCE_MS,
      now: () => performance.now(),
      ...options,
    };
  }

  /**
   * All pods of the node, each time something was decided about them.
   * @param isDeleting whether a pod is on its way out: its network is taken apart while the API still lists it, for a
   *   minute at times, and nobody needs to be told of that
   */
  look(statuses: readonly WorkloadStatus[], isDeleting: (uid: string) => boolean = () => false): void {
    const staying = statuses.filter(({ uid }) => !isDeleting(uid));
    const named = new Set(staying.map(({ uid }) => uid));
    for (const uid of this.#pods.keys()) if (!named.has(uid)) this.#pods.delete(uid);
    for (const status of staying) this.#lookAt(status);
  }

  #lookAt({ uid, namespace, name, state, role, reason, problems }: WorkloadStatus): void {
    if (role === 'ztunnel' || (state !== 'in' && state !== 'pending' && state !== 'waiting')) {
      this.#pods.delete(uid);
      return;
    }
    const { now, patienceMs, problemPatienceMs } = this.#options;
    const nowMs = now();
    const known = this.#pods.get(uid) ?? { waitsSinceMs: undefined, problems: new Map(), told: new Map() };
    this.#pods.set(uid, known);
    known.waitsSinceMs = state === 'in' ? undefined : (known.waitsSinceMs ?? nowMs);
    const before = known.problems;
    known.problems = new Map(problems.map((text) => [text, before.get(text) ?? nowMs]));
    const lasting = [...known.problems].filter(([, sinceMs]) => nowMs - sinceMs >= problemPatienceMs);
    const pod = { namespace, name, uid };
    if (lasting.length > 0) {
      const message = lasting.map(([text]) => text).join('; ');
      this.#tell(known, pod, state === 'in' ? PARTLY_ENROLLED : NOT_ENROLLED, message);
    } else if (known.waitsSinceMs !== undefined && nowMs - known.waitsSinceMs >= patienceMs) {
      this.#tell(known, pod, NOT_ENROLLED, reason);
    }
  }

  #tell({ told }: Known, pod: PodReference, reason: string, message: string): void {
    const now = this.#options.now();
    const before = told.get(reason);
    if (before?.message === message && now - before.atMs < REPEAT_MS) return;
    told.set(reason, { message, atMs: now });
    this.#options.record(pod, { type: 'Warning', reason, message: `Sluice: ${message}` });
  }
}
