// Brings the annotations of this node's pods to what they ought to be, and keeps off where somebody else writes them, too.
import { setTimeout as sleep } from 'node:timers/promises';
import { ApiError, backOffMs, type PodReference } from '@sluice/kubernetes';
import type { Redirection } from './redirection.js';

/** What a pod's annotation ought to be, and what it is in the inventory. */
export interface RedirectionWish {
  readonly pod: PodReference;
  readonly wanted: Redirection;
  readonly seen: string | undefined;
}

export interface RedirectionWriterOptions {
  /** Writes once; rejects when that failed. `gone`: the pod is no more. */
  readonly patch: (pod: PodReference, value: Redirection, signal: AbortSignal) => Promise<'patched' | 'gone'>;
  readonly onFailure: (pod: PodReference, error: unknown) => void;
  /** How long to wait after so many failures in a row, the last of them with this error, in milliseconds. */
  readonly backOffMs?: (failures: number, error: unknown) => number;
  /** How long a new pod may be pending before that is written, in milliseconds: most are not for long. */
  readonly pendingAfterMs?: number;
  /** In ms; for tests. */
  readonly now?: () => number;
}

const BACK_OFF = { baseMs: 1000, capMs: 60_000 };
const PENDING_AFTER_MS = 1000;
/** A write that the inventory does not show after so long was overwritten before it could, in milliseconds. */
const SHOWN_WITHIN_MS = 60_000;
/** How often a value of ours that somebody changed is put back, until something else is wanted. */
const CORRECTIONS = 1;

interface Tended {
  readonly pod: PodReference;
  wanted: Redirection;
  /** What is believed to be there. */
  there: string | undefined;
  seen: string | undefined;
  /** The inventory has shown what is believed: what it shows now is newer. */
  isShown: boolean;
  writtenMs: number;
  corrections: number;
  /** Somebody else insists, or the pod is gone: it is left alone until something else is wanted. */
  isLeft: boolean;
  /** What keeps it from being written. */
  problem: string | undefined;
  work: Promise<void> | undefined;
  wake: AbortController;
}

export class RedirectionWriter {
  readonly #options: Required<RedirectionWriterOptions>;
  readonly #pods = new Map<string, Tended>();
  readonly #closing = new AbortController();

  constructor(options: RedirectionWriterOptions) {
    this.#options = {
      backOffMs: (failures, error) =>
        backOffMs(BACK_OFF, failures, error instanceof ApiError ? error.retryAfterMs : undefined),
      pendingAfterMs: PENDING_AFTER_MS,
      now: () => performance.now(),
      ...options,
    };
  }

  /** All pods of the node: those that are not among them are forgotten. */
  want(wishes: readonly RedirectionWish[]): void {
    const named = new Set(wishes.map(({ pod }) => pod.uid));
    for (const [uid, tended] of this.#pods) {
      if (named.has(uid)) continue;
      this.#pods.delete(uid);
      tended.wake.abort();
    }
    for (const wish of wishes) this.#wish(wish);
  }

  /**
   * Takes back what is said of these pods, and nothing else. Fulfilled when it is taken back, however long that takes.
   * Pods that are not said to be in the mesh are none of its business.
   */
  async withdraw(wishes: readonly RedirectionWish[]): Promise<void> {
    const works = wishes.map(({ pod, wanted, seen }) => {
      const tended = this.#pods.get(pod.uid);
      // While a write is under way, what is there may be what it writes.
      const isSaid =
        tended === undefined
          ? seen === 'enabled'
          : tended.wanted === 'enabled' && (tended.there === 'enabled' || tended.work !== undefined);
      if (!isSaid || wanted === 'enabled') return undefined;
      this.#wish({ pod, wanted, seen: tended?.seen ?? seen });
      return this.#pods.get(pod.uid)?.work;
    });
    await Promise.all(works);
  }

  /** Each kind of trouble in one sentence, however many pods have it. */
  problems(): string[] {
    const byText = new Map<string, string[]>();
    for (const { pod, problem } of this.#pods.values()) {
      if (problem === undefined) continue;
      byText.set(problem, [...(byText.get(problem) ?? []), `${pod.namespace}/${pod.name}`]);
    }
    return [...byText].map(([text, names]) => {
      const [first = ''] = names;
      const whose = names.length === 1 ? `pod ${first}` : `${names.length} pods, such as ${first}`;
      return `the annotation of ${whose} is not what it ought to be: ${text}`;
    });
  }

  /** Ends what is under way; what was not written stays unwritten. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort();
    const works = [...this.#pods.values()].map(({ work, wake }) => {
      wake.abort();
      return work;
    });
    await Promise.all(works);
  }

  #wish({ pod, wanted, seen }: RedirectionWish): void {
    let tended = this.#pods.get(pod.uid);
    if (tended === undefined) {
      tended = {
        pod,
        wanted,
        there: seen,
        seen,
        isShown: true,
        writtenMs: 0,
        corrections: 0,
        isLeft: false,
        problem: undefined,
        work: undefined,
        wake: new AbortController(),
      };
      this.#pods.set(pod.uid, tended);
    }
    tended.seen = seen;
    if (wanted !== tended.wanted) {
      tended.wanted = wanted;
      tended.corrections = 0;
      tended.isLeft = false;
      tended.problem = undefined;
      // What it waits for may not matter any more.
      tended.wake.abort();
    }
    if (tended.work === undefined) this.#compare(tended);
    if (tended.work === undefined && !this.#isDone(tended)) this.#begin(tended);
  }

  /** Takes in what the inventory shows, once it can be told from what it showed before. */
  #compare(tended: Tended): void {
    const { seen, wanted } = tended;
    if (seen === tended.there) {
      tended.isShown = true;
      return;
    }
    if (!tended.isShown && this.#options.now() - tended.writtenMs < SHOWN_WITHIN_MS) return;
    tended.there = seen;
    tended.isShown = true;
    if (seen === wanted || tended.isLeft) return;
    tended.corrections += 1;
    if (tended.corrections <= CORRECTIONS) return;
    tended.isLeft = true;
    tended.problem =
      `somebody else makes it ${seen === undefined ? 'absent' : `\`${seen}\``} each time, and it is left so; ` +
      'find who writes it (istio-cni?), and take that off this node';
  }

  #isDone({ wanted, there, isLeft }: Tended): boolean {
    return this.#closing.signal.aborted || isLeft || wanted === there;
  }

  #begin(tended: Tended): void {
    tended.work = this.#work(tended).finally(() => {
      tended.work = undefined;
    });
  }

  async #work(tended: Tended): Promise<void> {
    const { patch, onFailure, pendingAfterMs, now } = this.#options;
    const isTended = (): boolean => this.#pods.get(tended.pod.uid) === tended && !this.#isDone(tended);
    if (tended.wanted === 'pending' && tended.there === undefined) await this.#pause(tended, pendingAfterMs);
    for (let failures = 0; isTended();) {
      const { wanted } = tended;
      try {
        const outcome = await patch(tended.pod, wanted, this.#closing.signal);
        tended.there = wanted;
        tended.isShown = tended.seen === wanted;
        tended.writtenMs = now();
        tended.problem = undefined;
        failures = 0;
        if (outcome === 'gone') tended.isLeft = true;
      } catch (error) {
        if (this.#closing.signal.aborted) return;
        failures += 1;
        tended.problem = error instanceof Error ? error.message : String(error);
        onFailure(tended.pod, error);
        await this.#pause(tended, this.#options.backOffMs(failures, error));
      }
    }
  }

  /** Until then, or until something else is wanted. */
  async #pause(tended: Tended, ms: number): Promise<void> {
    tended.wake = new AbortController();
    if (this.#closing.signal.aborted) return;
    await sleep(ms, undefined, { signal: tended.wake.signal }).catch(() => {});
  }
}
