// Connections in a loop from inside a pod of a real cluster, until they are stopped.
import { LoadSummary, type LoadOptions } from '../campaigns.js';
import { parseLine } from '../json-line.js';
import { LineProcess } from '../line-process.js';
import type { Kubectl } from './kubectl.js';
import type { LivePod } from './live-pod.js';

export class PodLoad {
  readonly #stop: () => Promise<unknown>;
  readonly #process: LineProcess;

  private constructor(process: LineProcess, stop: () => Promise<unknown>) {
    this.#process = process;
    this.#stop = stop;
  }

  /** Fulfilled when it is running. The kubelet must not be restarted meanwhile, because that would cut it off. */
  static async start(
    kubectl: Kubectl,
    from: LivePod,
    to: readonly string[],
    options: LoadOptions = {},
  ): Promise<PodLoad> {
    const { namespace = 'default', name } = from.metadata;
    const pause = options.pauseMs === undefined ? [] : ['--pause', String(options.pauseMs)];
    const dial = ['/bin/peer', 'dial', ...to.flatMap((address) => ['--to', address]), '--load', ...pause];
    // A signal to kubectl would not reach the process; this way its own pid in the pod is known.
    const command = ['/bin/sh', '-c', 'echo $$; exec "$@"', 'sh', ...dial];
    const process = await LineProcess.start(kubectl.command(['exec', '-n', namespace, name, '--', ...command]));
    const pid = await process.lineMatching(/^\d+$/);
    await process.lineMatching(/^ready$/);
    return new PodLoad(process, () => kubectl.exec(namespace, name, ['/bin/sh', '-c', `kill -TERM ${pid}`]));
  }

  async stop(): Promise<LoadSummary> {
    await this.#stop();
    return parseLine(LoadSummary, await this.#process.lineMatching(/^\{/));
  }
}
