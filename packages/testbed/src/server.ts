// An application that listens: a process that can be ended and started again on its port, as a rollout in place does.
import type { Exit, LineProcess } from './line-process.js';

export interface ServeOptions {
  /** What its answers say. */
  readonly name?: string;
  /** An address instead of all. */
  readonly bind?: string;
  /** After its line it sends back what it gets, for as long as the client likes; see Stream. Default false. */
  readonly echo?: boolean;
}

/** The arguments of the peer program for these options. */
export function serveArguments(ports: readonly number[], name: string, options: ServeOptions): string[] {
  const bind = options.bind === undefined ? [] : ['--bind', options.bind];
  return ['serve', '--name', name, '--port', ports.join(','), ...bind, ...(options.echo === true ? ['--echo'] : [])];
}

export class Server {
  readonly #launch: () => Promise<LineProcess>;
  #process: LineProcess | undefined;

  private constructor(launch: () => Promise<LineProcess>) {
    this.#launch = launch;
  }

  /** Fulfilled when it listens; rejects with what the kernel said when it cannot. */
  static async start(launch: () => Promise<LineProcess>): Promise<Server> {
    const server = new Server(launch);
    await server.start();
    return server;
  }

  /** The process of this moment. */
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

  /** SIGTERM. Its connections break. */
  stop(): Promise<Exit> {
    return this.process.stop();
  }

  /** Ends it, and starts it again at once. Rejects with EADDRINUSE's text when somebody has its port now. */
  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }
}
