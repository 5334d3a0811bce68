// A process of the node itself: in the node's netns, in a cgroup that is not a pod's. The kubelet is one.
import type { Cgroup } from './cgroup.js';
import { Dialler, type DialOptions, type DialResult } from './dialler.js';
import { LineProcess } from './line-process.js';
import { enterCommand } from './peer-program.js';

export class HostProcess {
  readonly cgroup: Cgroup;
  readonly process: LineProcess;
  readonly #dialler: Dialler;

  private constructor(cgroup: Cgroup, process: LineProcess) {
    this.cgroup = cgroup;
    this.process = process;
    this.#dialler = new Dialler(process);
  }

  /** `program` is the peer under the name (comm of proc(5)) that the process is to have. */
  static async start(program: string, cgroup: Cgroup, netns: string): Promise<HostProcess> {
    const argv = enterCommand({ cgroup: cgroup.path, netns }, [program, 'dial', '--stdin']);
    const host = new HostProcess(cgroup, await LineProcess.start(argv));
    await host.#dialler.ready();
    return host;
  }

  get pid(): number {
    return this.process.pid;
  }

  dial(to: string, options?: DialOptions): Promise<DialResult> {
    return this.#dialler.dial(to, options);
  }

  async close(): Promise<void> {
    await this.process.stop();
  }
}
