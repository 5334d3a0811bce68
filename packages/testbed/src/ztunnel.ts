// The stand-in ztunnel: a pod of istio-system that accepts what is redirected and says what it read.
import type { Hop } from './dialler.js';
import type { LineProcess } from './line-process.js';
import type { Pod, PodSpec } from './pod.js';

/** The ports of ztunnel (its config.rs). */
export const ZTUNNEL_PORTS = { outbound: 15001, inbound: 15006, hbone: 15008 } as const;

/** What makes a pod ztunnel for istiod's charts: the label, the service account and the namespace together. */
export const ZTUNNEL_POD = {
  namespace: 'istio-system',
  labels: { app: 'ztunnel', 'istio.io/dataplane-mode': 'none' },
  serviceAccountName: 'ztunnel',
} satisfies Partial<PodSpec>;

export interface ZtunnelOptions {
  /** relay: its line, then the application's (default). answer: its line alone. */
  readonly mode?: 'relay' | 'answer';
  /** Default 'ztunnel'. */
  readonly name?: string;
  /** Default: the three ports of ztunnel. */
  readonly ports?: readonly number[];
}

export class StandInZtunnel {
  readonly pod: Pod;
  readonly #options: ZtunnelOptions;
  #process: LineProcess | undefined;

  constructor(pod: Pod, options: ZtunnelOptions = {}) {
    this.pod = pod;
    this.#options = options;
  }

  get ip4(): string {
    return this.pod.ip4;
  }

  get ip6(): string {
    return this.pod.ip6;
  }

  /** Every accepted connection so far. */
  get accepted(): Hop[] {
    const lines = this.#process?.history ?? [];
    return lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as Hop);
  }

  /** Starts listening. */
  async start(): Promise<void> {
    const ports = this.#options.ports ?? Object.values(ZTUNNEL_PORTS);
    const mode = this.#options.mode === 'answer' ? ['--answer'] : [];
    const args = ['ztunnel', '--name', this.#options.name ?? 'ztunnel', '--ports', ports.join(','), '--log', ...mode];
    this.#process = await this.pod.app.exec(args);
    await this.#process.lineMatching(/^ready$/);
  }

  /** Ends the process and its listeners; the pod stays. start() brings it back. */
  async stop(): Promise<void> {
    await this.#process?.stop();
  }

  /** The pod's Ready condition, as the manifest shows it. */
  setReady(ready: boolean): void {
    this.pod.update({ ready });
  }
}
