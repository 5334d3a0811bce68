// One connection that lives long and carries data both ways all the time: it notices every break.
import type { Hop } from './dialler.js';
import type { LineProcess } from './line-process.js';

export interface StreamSummary {
  /** '' when stop() ended it; otherwise the errno's name, 'EOF', or 'EBADMSG' for an echo that was not what was sent. */
  readonly broken: string;
  /** How often 1 KiB went there and came back. */
  readonly rounds: number;
  readonly bytes: number;
  readonly hops: readonly Hop[];
}

export class Stream {
  /** Who accepted it, in order. */
  readonly hops: readonly Hop[];
  /** Fulfilled when it is over, for whatever reason. */
  readonly ended: Promise<StreamSummary>;
  readonly #process: LineProcess;

  private constructor(process: LineProcess, hops: readonly Hop[]) {
    this.#process = process;
    this.hops = hops;
    this.ended = process.until((line) => line.includes('"event":"end"')).then((line) => JSON.parse(line));
    this.ended.catch(() => {}); // whoever waits for it hears of it
  }

  /** `process` is a `peer stream` to a server that echoes. Rejects when no echo can be had. */
  static async start(process: LineProcess): Promise<Stream> {
    const { event, hops, broken } = JSON.parse(await process.nextLine());
    if (event !== 'begin') throw new Error(`the connection broke before the first echo (${broken})`);
    return new Stream(process, hops);
  }

  get running(): boolean {
    return this.#process.running;
  }

  /** Fulfilled after this many more rounds; rejects when it broke before. */
  async progress(rounds = 1): Promise<void> {
    this.#process.writeLine(`wait ${rounds}`);
    const { event, broken } = JSON.parse(await this.#process.nextLine());
    if (event !== 'rounds') throw new Error(`the connection broke: ${broken}`);
  }

  async stop(): Promise<StreamSummary> {
    this.#process.writeLine('stop');
    return this.ended;
  }
}
