// An application that listens: a process that can be ended and started again on its port, like in a rollout in place.
import type { Exit, LineProcess } from './line-process.js';

export interface ServeOptions {
  /** What its answers say. */
  readonly name?: string;
  /** One address to listen at, instead of all. */
  readonly bind?: string;
  /** Whether it sends back, after its line, what it gets, for as long as the client likes; see Stream. Default false. */
  readonly echo?: boolean;
  /** Whether its listeners have SO_REUSEADDR. Default true. */
  readonly reuseAddress?: boolean;
}

/** The arguments of the peer program for these options. */
export function serveArguments(ports: readonly number[], name: string, options: ServeOptions): string[] {
  return [
    'serve',
    '--name',
    name,
    '--port',
    ports.join(','),
    ...(options.bind === undefined ? [] : ['--bind', options.bind]),
    ...(options.echo === true ? ['--echo'] : []),
    ...(options.reuseAddress === false ? ['--no-reuse-address'] : []),
  ];
}

export class Server {
  readonly #launch: () => Promise<LineProcess>;
  #process: LineProcess | undefined;

  private constructor(launch: () => Promise<LineProcess>) {
    this.#launch = launch;
  }

  /** Fulfilled when it listens; rejects with the kernel's error if it cannot. */
  static async start(launch: () => Promise<LineProcess>): Promise<Server> {
    const server = new Server(launch);
    await server.start();
    return server;
  }

  /** The present process. */
  get process(): LineProcess {
    if (this.#process === undefined) throw new Error('the server has not been started');
    return this.#process;
  }

  get pid(): number {
    return this.process.pid;
  }

  async start(): Promise<void> {
    this.#process = await this.#launch();
    await this.#process.lineMatching(/^ready$/);
  }

  /** Sends SIGTERM. Its connections break. */
  stop(): Promise<Exit> {
    return this.process.stop();
  }

  /** Ends it, and starts it again at once. Rejects with EADDRINUSE's text if another process has its port now. */
  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }
}
