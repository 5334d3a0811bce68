// The agent under test as a child process: it can be started, killed and started again.
import type { Cgroup } from './cgroup.js';
import { LineProcess, type Exit } from './line-process.js';
import { enterCommand, PURE_V2_ROOT } from './peer-program.js';

export interface AgentOptions {
  /** The program and its arguments. */
  readonly command: readonly string[];
  /** Matches the line of stdout or stderr that says that the agent has taken over. */
  readonly ready: RegExp;
  /** Default: the environment of this process. */
  readonly env?: NodeJS.ProcessEnv;
  /** In the view of a pure cgroup2 machine; see TestNode.inPureV2View(). Default false. */
  readonly pureV2?: boolean;
}

export class Agent {
  readonly #options: AgentOptions;
  readonly #cgroup: Cgroup;
  #process: LineProcess | undefined;
  #spawned: Promise<LineProcess> | undefined;

  /** `cgroup` is where it runs: outside everything that the agent watches. See TestNode.agent(). */
  constructor(options: AgentOptions, cgroup: Cgroup) {
    this.#options = options;
    this.#cgroup = cgroup;
  }

  /** Whether there has been a process, running or ended. */
  get isStarted(): boolean {
    return this.#process !== undefined;
  }

  /** The running process; throws if none has been started. */
  get process(): LineProcess {
    if (this.#process === undefined) throw new Error('the agent has not been started');
    return this.#process;
  }

  /** Fulfilled when it reports that it is ready; rejects with its stderr when it ends before. */
  async start(): Promise<void> {
    const { command, ready, env, pureV2 } = this.#options;
    const place = { cgroup: this.#cgroup.path, ...(pureV2 === true ? { cgroup2At: PURE_V2_ROOT } : {}) };
    this.#spawned = LineProcess.start(enterCommand(place, command), env === undefined ? {} : { env });
    const child = await this.#spawned;
    this.#process = child;
    await Promise.race([child.lineMatching(ready), child.stderrMatching(ready)]);
  }

  /** Sends SIGKILL, so that it cannot clean up. If one is being started, that one is killed. */
  async kill9(): Promise<void> {
    await this.#spawned;
    this.process.signal('SIGKILL');
    await this.process.exited;
  }

  /** Sends SIGTERM. */
  stop(): Promise<Exit> {
    return this.process.stop();
  }

  async restart(): Promise<void> {
    if (this.#process?.running === true) await this.stop();
    await this.start();
  }
}
