// Thousands of dials by one process of a container, which judges them itself; only the summary comes back.
import * as Schema from 'effect/Schema';
import { parseLine } from './json-line.js';
import type { LineProcess } from './line-process.js';

/** Where a peer program can be run: a container, or the other node. */
export interface Runner {
  exec(args: readonly string[]): Promise<LineProcess>;
}

/** A dial that was not as it should be. */
export const CampaignCase = Schema.Struct({
  to: Schema.String,
  from: Schema.String,
  /** The original destination that the first acceptor read; its own address if it is not a ztunnel. */
  claimed: Schema.String,
  error: Schema.String,
  hops: Schema.Array(Schema.Unknown),
});
export type CampaignCase = typeof CampaignCase.Type;

export interface SourcePortCampaign {
  /** Dialled in turn, such that a source port that is used again dials another target. */
  readonly targets: readonly string[];
  /** First and last source port. */
  readonly ports: readonly [number, number];
  readonly count: number;
}

export const CampaignSummary = Schema.Struct({
  count: Schema.Int,
  /** Those for which the first acceptor's claim was what had been dialled. */
  ok: Schema.Int,
  redirected: Schema.Int,
  wrongCount: Schema.Int,
  /** The first ten wrong ones. */
  wrong: Schema.Array(CampaignCase),
});
export type CampaignSummary = typeof CampaignSummary.Type;

export const LoadSummary = Schema.Struct({
  attempts: Schema.Int,
  refused: Schema.Int,
  /** Those that were accepted by something that is not a ztunnel. */
  direct: Schema.Int,
  redirected: Schema.Int,
  errors: Schema.Int,
  /** The first ten refused or failed ones. */
  firstErrors: Schema.Array(CampaignCase),
});
export type LoadSummary = typeof LoadSummary.Type;

/** Sequential connections, each ended by RST so that its source port is free for the next round. */
export async function dialSourcePorts(runner: Runner, campaign: SourcePortCampaign): Promise<CampaignSummary> {
  const [low, high] = campaign.ports;
  const rest = ['--source-ports', `${low}-${high}`, '--count', String(campaign.count)];
  const process = await runner.exec(['dial', ...toTargets(campaign.targets), ...rest]);
  return parseLine(CampaignSummary, await process.nextLine());
}

export interface LoadOptions {
  /** Between two connections, in ms. Default 0. */
  readonly pauseMs?: number;
  /** Limit for one connection, in ms. Default PATIENCE_MS. */
  readonly timeoutMs?: number;
}

/** Connections in a loop, one after another, until stop(). */
export class Load {
  readonly #process: LineProcess;

  private constructor(process: LineProcess) {
    this.#process = process;
  }

  /** Fulfilled when it is running. */
  static async start(runner: Runner, targets: readonly string[], options: LoadOptions = {}): Promise<Load> {
    const pause = options.pauseMs === undefined ? [] : ['--pause', String(options.pauseMs)];
    const timeout = options.timeoutMs === undefined ? [] : ['--timeout', String(options.timeoutMs)];
    const process = await runner.exec(['dial', ...toTargets(targets), '--load', ...pause, ...timeout]);
    await process.lineMatching(/^ready$/);
    return new Load(process);
  }

  /** Fulfilled after this many more connections, all of which began after the call. */
  async progress(attempts: number): Promise<void> {
    this.#process.writeLine(`wait ${attempts}`);
    await this.#process.nextLine();
  }

  async stop(): Promise<LoadSummary> {
    this.#process.signal('SIGTERM');
    return parseLine(LoadSummary, await this.#process.nextLine());
  }
}

/** The peer's arguments for what it is to dial. */
export function toTargets(targets: readonly string[]): string[] {
  return targets.flatMap((target) => ['--to', target]);
}
