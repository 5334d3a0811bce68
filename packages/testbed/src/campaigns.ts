// Thousands of dials by one process of a container, judged there; only the summary comes back.
import type { LineProcess } from './line-process.js';

/** Where a peer program can be run: a container, or the other node. */
export interface Runner {
  exec(args: readonly string[]): Promise<LineProcess>;
}

/** A dial that was not as it should be. */
export interface CampaignCase {
  readonly to: string;
  readonly from: string;
  /** The original destination that the first acceptor read, or its own address when it is no ztunnel. */
  readonly claimed: string;
  readonly error: string;
  readonly hops: readonly unknown[];
}

export interface SourcePortCampaign {
  /** Dialled in turn, such that a source port that comes round again dials another one. */
  readonly targets: readonly string[];
  /** First and last source port. */
  readonly ports: readonly [number, number];
  readonly count: number;
}

export interface SourcePortSummary {
  readonly count: number;
  /** The first acceptor's claim was what had been dialled. */
  readonly ok: number;
  readonly redirected: number;
  readonly wrongCount: number;
  /** The first ten wrong ones. */
  readonly wrong: readonly CampaignCase[];
}

export interface LoadSummary {
  readonly attempts: number;
  readonly refused: number;
  /** Accepted by something that is no ztunnel. */
  readonly direct: number;
  readonly redirected: number;
  readonly errors: number;
  /** The first ten refused or failed ones. */
  readonly firstErrors: readonly CampaignCase[];
}

/** Sequential connections, each ended by RST so that its source port is free for the next round. */
export async function dialSourcePorts(runner: Runner, campaign: SourcePortCampaign): Promise<SourcePortSummary> {
  const [low, high] = campaign.ports;
  const rest = ['--source-ports', `${low}-${high}`, '--count', String(campaign.count)];
  const process = await runner.exec(['dial', ...to(campaign.targets), ...rest]);
  return JSON.parse(await process.nextLine()) as SourcePortSummary;
}

export interface LoadOptions {
  /** Between two connections, in ms. Default 0. */
  readonly pauseMs?: number;
}

/** Connections in a loop, one after another, until stop(). */
export class Load {
  readonly #process: LineProcess;

  private constructor(process: LineProcess) {
    this.#process = process;
  }

  /** Fulfilled when it is under way. */
  static async start(runner: Runner, targets: readonly string[], options: LoadOptions = {}): Promise<Load> {
    const pause = options.pauseMs === undefined ? [] : ['--pause', String(options.pauseMs)];
    const process = await runner.exec(['dial', ...to(targets), '--load', ...pause]);
    await process.lineMatching(/^ready$/);
    return new Load(process);
  }

  /** Fulfilled after this many more connections, all of them begun after the call. */
  async progress(attempts: number): Promise<void> {
    this.#process.writeLine(`wait ${attempts}`);
    await this.#process.nextLine();
  }

  async stop(): Promise<LoadSummary> {
    this.#process.signal('SIGTERM');
    return JSON.parse(await this.#process.nextLine()) as LoadSummary;
  }
}

function to(targets: readonly string[]): string[] {
  return targets.flatMap((target) => ['--to', target]);
}
