// An application that dials with its first instruction, again and again, and what became of each attempt.
import * as Schema from 'effect/Schema';
import { toTargets } from './campaigns.js';
import type { Container } from './container.js';
import { Hop } from './dialler.js';
import { parseLine } from './json-line.js';
import type { LineProcess } from './line-process.js';

export const Attempt = Schema.Struct({
  to: Schema.String,
  /** When the process was in main(), in microseconds of CLOCK_MONOTONIC, which process.hrtime() shows. */
  bornUs: Schema.Int,
  /** In microseconds since then. */
  beganUs: Schema.Int,
  endedUs: Schema.Int,
  /** Somebody accepted it and said so. */
  ok: Schema.Boolean,
  /** Name of the errno of the connect, or ''. */
  error: Schema.String,
  /** Name of the errno that ended the reading, or ''. */
  readError: Schema.String,
  /** Who accepted it, in order. */
  hops: Schema.Array(Hop),
});
export type Attempt = typeof Attempt.Type;

/** @param line one line of the program's output */
export function readAttempt(line: string): Attempt {
  return parseLine(Attempt, line);
}

export interface AtOnceOptions {
  /** Between two attempts, in ms. Default 1. */
  readonly pauseMs?: number;
  /** Limit for one attempt, in ms. Default PATIENCE_MS. */
  readonly timeoutMs?: number;
  /** It ends after so many successful attempts. Default: it goes on until the pod ends. */
  readonly successes?: number;
}

/** The `app` of a pod that dials these targets in turn, from its first instruction on; see Attempts. */
export function dialsAtOnce(targets: readonly string[], options: AtOnceOptions = {}): readonly string[] {
  return [
    'at-once',
    ...toTargets(targets),
    ...(options.pauseMs === undefined ? [] : ['--pause', String(options.pauseMs)]),
    ...(options.timeoutMs === undefined ? [] : ['--timeout', String(options.timeoutMs)]),
    ...(options.successes === undefined ? [] : ['--successes', String(options.successes)]),
  ];
}

/** How a connection went: `mesh` if a ztunnel accepted it, `refused` by the kernel, `failed` in any other way. */
export type Way = 'mesh' | 'direct' | 'refused' | 'failed';

/** Pure. */
export function wayOf({ ok, error, hops }: Pick<Attempt, 'ok' | 'error' | 'hops'>): Way {
  if (error === 'ECONNREFUSED') return 'refused';
  if (!ok) return 'failed';
  return hops[0]?.originalDst === undefined ? 'direct' : 'mesh';
}

export class Attempts {
  readonly #process: LineProcess;
  readonly #read: Attempt[] = [];

  /** Of a process that was started with dialsAtOnce(). */
  constructor(process: LineProcess) {
    this.#process = process;
  }

  static of(container: Container): Attempts {
    return new Attempts(container.process);
  }

  /** Whether there will be more. */
  get isRunning(): boolean {
    return this.#process.running;
  }

  /** Ends the program. */
  async stop(): Promise<void> {
    await this.#process.stop();
  }

  /** Those that have ended, in order. */
  get all(): readonly Attempt[] {
    const { history } = this.#process;
    for (let n = this.#read.length; n < history.length; n++) this.#read.push(readAttempt(history[n] ?? ''));
    return this.#read;
  }

  /** How many went which way. */
  get ways(): Readonly<Record<Way, number>> {
    const ways = { mesh: 0, direct: 0, refused: 0, failed: 0 };
    for (const attempt of this.all) ways[wayOf(attempt)] += 1;
    return ways;
  }

  /** The first that fits, past or future. Rejects if the process ends without one. */
  async until(fits: (attempt: Attempt) => boolean): Promise<Attempt> {
    const line = await this.#process.until((line) => fits(readAttempt(line)));
    return readAttempt(line);
  }
}

/**
 * The `app` of a pod without a sandbox whose first process leaves for a network namespace of a user namespace of its own, and
 * takes these addresses there, `afterMs` after its start. Its stderr then says `taken`. A child of it stays, and is a `dial --stdin`.
 */
export function usurps(ips: readonly string[], afterMs: number): readonly string[] {
  return ['usurp', ...ips.flatMap((ip) => ['--ip', ip]), '--after', String(afterMs)];
}
