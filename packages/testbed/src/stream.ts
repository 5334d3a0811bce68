// One long connection that carries data both ways all the time, so that it notices every break.
import * as Schema from 'effect/Schema';
import { Hop } from './dialler.js';
import { parseLine } from './json-line.js';
import type { LineProcess } from './line-process.js';

const StreamSummary = Schema.Struct({
  event: Schema.Literal('end'),
  /** '' if stop() ended it; otherwise the errno's name, 'EOF', or 'EBADMSG' if the echo was not what was sent. */
  broken: Schema.String,
  /** How often 1 KiB was sent and came back. */
  rounds: Schema.Int,
  bytes: Schema.Int,
  hops: Schema.Array(Hop),
});
export type StreamSummary = typeof StreamSummary.Type;

const Begin = Schema.Union([Schema.Struct({ event: Schema.Literal('begin'), hops: Schema.Array(Hop) }), StreamSummary]);
const Progress = Schema.Union([Schema.Struct({ event: Schema.Literal('rounds') }), StreamSummary]);

export class Stream {
  /** Who accepted it, in order. */
  readonly hops: readonly Hop[];
  /** Fulfilled when it is over, whatever the reason is. */
  readonly ended: Promise<StreamSummary>;
  readonly #process: LineProcess;

  private constructor(process: LineProcess, hops: readonly Hop[]) {
    this.#process = process;
    this.hops = hops;
    this.ended = process.until((line) => line.includes('"event":"end"')).then((line) => parseLine(StreamSummary, line));
    this.ended.catch(() => {}); // a caller that waits for it sees it
  }

  /** `process` is a `peer stream` to a server that echoes. Rejects if no echo comes. */
  static async start(process: LineProcess): Promise<Stream> {
    const said = parseLine(Begin, await process.nextLine());
    if (said.event === 'end') throw new Error(`the connection broke before the first echo (${said.broken})`);
    return new Stream(process, said.hops);
  }

  get running(): boolean {
    return this.#process.running;
  }

  /** Fulfilled after this many more rounds; rejects if it breaks before. */
  async progress(rounds = 1): Promise<void> {
    this.#process.writeLine(`wait ${rounds}`);
    const said = parseLine(Progress, await this.#process.nextLine());
    if (said.event === 'end') throw new Error(`the connection broke: ${said.broken}`);
  }

  async stop(): Promise<StreamSummary> {
    this.#process.writeLine('stop');
    return this.ended;
  }
}
