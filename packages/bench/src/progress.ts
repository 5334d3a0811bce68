// How far a long benchmark is, on stderr: one line that changes on a terminal, or a line now and then.

const PERIOD_MS = 5000;
const TERMINAL_PERIOD_MS = 200;

export class Progress {
  readonly #began = performance.now();
  readonly #total: number;
  readonly #stream: NodeJS.WriteStream;
  #last = 0;

  constructor(total: number, stream: NodeJS.WriteStream = process.stderr) {
    this.#total = total;
    this.#stream = stream;
  }

  /** `details` is called only if something is written. */
  at(done: number, details: () => string): void {
    const now = performance.now();
    const isEnd = done === this.#total;
    if (!isEnd && now - this.#last < (this.#stream.isTTY ? TERMINAL_PERIOD_MS : PERIOD_MS)) return;
    this.#last = now;
    const left = done === 0 ? 0 : ((now - this.#began) / done) * (this.#total - done);
    const line = `${done} of ${this.#total}, ${Math.round(left / 1000)} s left; ${details()}`;
    this.#stream.write(this.#stream.isTTY ? `\r\u001B[K${line}${isEnd ? '\n' : ''}` : `${line}\n`);
  }
}
