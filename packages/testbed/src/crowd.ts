// Many connections of one process that are open at once; it judges them itself, and only summaries come back.
import * as Schema from 'effect/Schema';
import { CampaignSummary, toTargets, type Runner } from './campaigns.js';
import { parseLine } from './json-line.js';
import type { LineProcess } from './line-process.js';

const Echoed = Schema.Struct({
  /** Those over which a byte went there and back. */
  alive: Schema.Int,
  /** How many broke, by the errno's name or 'EOF'. */
  broken: Schema.Record(Schema.String, Schema.Int),
});
export type Echoed = typeof Echoed.Type;

export class Crowd {
  /** What became of the connects. */
  readonly summary: CampaignSummary;
  readonly #process: LineProcess;

  private constructor(process: LineProcess, summary: CampaignSummary) {
    this.#process = process;
    this.summary = summary;
  }

  /**
   * Connects `count` times, to the targets in turn, and keeps every connection. What accepts must echo, because a
   * connection whose other side ends is not open. One process may have as many as the machine lets it open files.
   */
  static async start(runner: Runner, targets: readonly string[], count: number): Promise<Crowd> {
    const process = await runner.exec(['crowd', ...toTargets(targets), '--count', String(count)]);
    return new Crowd(process, parseLine(CampaignSummary, await process.nextLine()));
  }

  /** Sends a byte over each connection that has not broken, and waits for it to come back. */
  async echo(): Promise<Echoed> {
    this.#process.writeLine('echo');
    return parseLine(Echoed, await this.#process.nextLine());
  }

  /** Ends all of them by RST, so that their ports are free at once. */
  async stop(): Promise<void> {
    await this.#process.end();
  }
}
