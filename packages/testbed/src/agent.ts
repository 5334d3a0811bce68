// The agent under test as a child process: started, killed, started again.
import type { Cgroup } from './cgroup.js';
import { LineProcess, type Exit } from './line-process.js';
import { enterCommand, PURE_V2_ROOT } from './peer-program.js';

export interface AgentOptions {
  /** The program and its arguments. */
  readonly command: readonly string[];
  /** The line of stdout or stderr that says it has taken over. */
  readonly ready: RegExp;
  /** Default: this process's. */
  readonly env?: NodeJS.ProcessEnv;
  /** In the view of a pure cgroup2 machine; see TestNode.inPureV2View(). Default false. */
  readonly pureV2?: boolean;
}

export class Agent {
  readonly #options: AgentOptions;
  readonly #cgroup: Cgroup;
  #process: LineProcess | undefined;
  #spawned: Promise<LineProcess> | undefined;

  /** `cgroup` is where it runs: outside everything that it watches. See TestNode.agent(). */
  constructor(options: AgentOptions, cgroup: Cgroup) {
    this.#options = options;
    this.#cgroup = cgroup;
  }

  /** Whether there is a process, running or ended. */
  get isStarted(): boolean {
    return this.#process !== undefined;
  }

  /** The running process; throws when it has not been started. */
  get process(): LineProcess {
    if (this.#process === undefined) throw new Error('the agent has not been started');
    return this.#process;
  }

  /** Fulfilled when it says that it is ready; rejects with its stderr when it ends before. */
  async start(): Promise<void> {
    const { command, ready, env, pureV2 } = this.#options;
    const place = { cgroup: this.#cgroup.path, ...(pureV2 === true ? { cgroup2At: PURE_V2_ROOT } : {}) };
    this.#spawned = LineProcess.start(enterCommand(place, command), env === undefined ? {} : { env });
    const child = await this.#spawned;
    this.#process = child;
    await Promise.race([child.lineMatching(ready), child.stderrMatching(ready)]);
  }

  /** SIGKILL: it cannot clean up. Of the one that is being started, if there is one. */
  async kill9(): Promise<void> {
    await this.#spawned;
    this.process.signal('SIGKILL');
    await this.process.exited;
  }

  /** SIGTERM. */
  stop(): Promise<Exit> {
    return this.process.stop();
  }

  async restart(): Promise<void> {
    if (this.#process?.running === true) await this.stop();
    await this.start();
  }
}
