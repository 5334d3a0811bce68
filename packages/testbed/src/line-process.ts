// A child process with which the testbed speaks in lines.
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { PATIENCE_MS } from './patience.js';

/** How much of a process's stderr is kept for error messages, in characters. */
const KEPT_STDERR = 16_384;

interface Waiting {
  readonly resolve: (line: string) => void;
  readonly reject: (error: Error) => void;
}

/** How a process ended: `code` is null if a signal ended it. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** The processes that have not ended. */
const alive = new Set<LineProcess>();

/** A started program whose stdout is read line by line. */
export class LineProcess {
  readonly argv: readonly string[];
  readonly pid: number;
  /** Fulfilled when the process has ended; never rejected. */
  readonly exited: Promise<Exit>;
  /** Every line read so far, including those that were taken. */
  readonly history: string[] = [];
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #unread: string[] = [];
  readonly #waiting: Waiting[] = [];
  readonly #looking = new Set<() => void>();
  /** Called once, when there is another line, or the end. */
  readonly #more = new Set<() => void>();
  #stderr = '';
  #end: Exit | undefined;

  private constructor(argv: readonly string[], child: ChildProcessWithoutNullStreams, pid: number) {
    alive.add(this);
    this.argv = argv;
    this.pid = pid;
    this.#child = child;
    child.stdin.on('error', () => {}); // EPIPE of a process that is gone; `exited` reports that
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-KEPT_STDERR);
      for (const look of this.#looking) look();
    });
    createInterface({ input: child.stdout }).on('line', (line) => {
      this.history.push(line);
      const first = this.#waiting.shift();
      if (first === undefined) this.#unread.push(line);
      else first.resolve(line);
      this.#wake();
    });
    this.exited = new Promise((resolve) => {
      // 'close' comes after the last line of stdout; 'exit' may come before it.
      child.on('close', (code, signal) => {
        this.#end = { code, signal };
        alive.delete(this);
        for (const waiting of this.#waiting.splice(0)) waiting.reject(this.#ended());
        this.#wake();
        resolve(this.#end);
      });
    });
  }

  /** Starts a program; rejects if it cannot be started at all. */
  static async start(
    argv: readonly string[],
    options: { env?: NodeJS.ProcessEnv; cwd?: string } = {},
  ): Promise<LineProcess> {
    const [program, ...rest] = argv;
    if (program === undefined) throw new Error('no program to start');
    const child = spawn(program, rest, { stdio: 'pipe', ...options });
    await once(child, 'spawn');
    if (child.pid === undefined) throw new Error(`cannot start ${program}`);
    return new LineProcess(argv, child, child.pid);
  }

  get running(): boolean {
    return this.#end === undefined;
  }

  /** The last part of what it wrote to stderr. */
  get stderr(): string {
    return this.#stderr;
  }

  /** The next line that has not been taken; rejects when the process ends without one. */
  nextLine(): Promise<string> {
    const line = this.#unread.shift();
    if (line !== undefined) return Promise.resolve(line);
    if (this.#end !== undefined) return Promise.reject(this.#ended());
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  /** Takes lines until one matches, and returns that one. */
  async lineMatching(pattern: RegExp): Promise<string> {
    for (;;) {
      const line = await this.nextLine();
      if (pattern.test(line)) return line;
    }
  }

  /**
   * The first line that fits, among those read so far (from the `from`-th on) and future ones. It takes none, because others
   * may wait for the same line. Rejects when the process ends without one.
   */
  async until(fits: (line: string) => boolean, from = 0): Promise<string> {
    for (let i = from; ;) {
      for (; i < this.history.length; i++) {
        const line = this.history[i] ?? '';
        if (fits(line)) return line;
      }
      if (this.#end !== undefined) throw this.#ended();
      await new Promise<void>((resolve) => this.#more.add(resolve));
    }
  }

  /** Fulfilled when stderr has a match; never if it has none. */
  stderrMatching(pattern: RegExp): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!pattern.test(this.#stderr)) return;
        this.#looking.delete(look);
        resolve();
      };
      this.#looking.add(look);
      look();
    });
  }

  writeLine(line: string): void {
    this.#child.stdin.write(`${line}\n`);
  }

  /** Ends its standard input; fulfilled when the process has ended. */
  end(): Promise<Exit> {
    this.#child.stdin.end();
    return this.exited;
  }

  /** Sends a signal, unless the process has ended. */
  signal(name: NodeJS.Signals): void {
    if (this.running) this.#child.kill(name);
  }

  /** Sends SIGTERM, and SIGKILL after `graceMs`; fulfilled when the process has ended. */
  async stop(graceMs = PATIENCE_MS): Promise<Exit> {
    this.signal('SIGTERM');
    const timer = setTimeout(() => this.signal('SIGKILL'), graceMs);
    try {
      return await this.exited;
    } finally {
      clearTimeout(timer);
    }
  }

  #wake(): void {
    const waiting = [...this.#more];
    this.#more.clear();
    for (const wake of waiting) wake();
  }

  #ended(): Error {
    const how = this.#end?.signal ?? `status ${this.#end?.code}`;
    return new Error(`"${this.argv.join(' ')}" ended (${how}): ${this.#stderr.trim() || 'it said nothing'}`);
  }
}

/** Fulfilled when every running process whose command line matches has ended. */
export async function allEnded(commandLine: RegExp): Promise<void> {
  const ours = [...alive].filter((process) => commandLine.test(process.argv.join(' ')));
  await Promise.all(ours.map((process) => process.exited));
}

/** Runs a program until it ends and returns its lines; rejects with its stderr if the status is not 0. */
export async function runToEnd(argv: readonly string[], input: readonly string[] = []): Promise<string[]> {
  const [program, ...rest] = argv;
  if (program === undefined) throw new Error('no program to run');
  const child = spawn(program, rest, { stdio: 'pipe' });
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
  child.stdin.on('error', () => {});
  child.stdin.end(input.map((line) => `${line}\n`).join(''));
  const { code, signal } = await new Promise<Exit>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal }));
  });
  if (code !== 0) throw new Error(`"${argv.join(' ')}" failed (${signal ?? `status ${code}`}): ${err.trim()}`);
  return out.split('\n').filter((line) => line !== '');
}
