// The stand-in ztunnel: a pod of istio-system that accepts redirected connections and says what it read.
import * as Schema from 'effect/Schema';
import { Hop } from './dialler.js';
import { parseLine } from './json-line.js';
import type { Exit, LineProcess } from './line-process.js';
import { PATIENCE_MS } from './patience.js';
import type { Pod, PodSpec } from './pod.js';
import { servedAfter, ZtunnelEvent } from './ztunnel-events.js';

/** The ports of ztunnel (its config.rs). */
export const ZTUNNEL_PORTS = { outbound: 15001, inbound: 15006, hbone: 15008, dns: 15053 } as const;

/** What makes a pod ztunnel in istiod's charts: the label, the service account and the namespace together. */
export const ZTUNNEL_POD = {
  namespace: 'istio-system',
  labels: { app: 'ztunnel', 'istio.io/dataplane-mode': 'none' },
  serviceAccountName: 'ztunnel',
} satisfies Partial<PodSpec>;

/** It listens in its own pod. */
export interface NodeZtunnelOptions {
  /** relay: sends its line, then the application's (default). answer: sends only its own line. */
  readonly mode?: 'relay' | 'answer';
  /** The name of the pod, and of the acceptor in its lines. Default 'ztunnel'. */
  readonly name?: string;
  /** Default: 15001, 15006 and 15008. */
  readonly ports?: readonly number[];
}

/** Like ztunnel since 1.23: it listens in the network namespaces that the agent hands over, and relays. */
export interface InPodZtunnelOptions {
  readonly mode: 'inPod';
  /** Path of the agent's ZDS socket, which need not exist yet. */
  readonly zdsSocket: string;
  /** The name of the pod, and of the acceptor in its lines. Default 'ztunnel'. */
  readonly name?: string;
  /** Applications see the client's address (ENABLE_ORIG_SRC). Default true. */
  readonly originalSource?: boolean;
  /** Whether it answers DNS on 15053. Default true. */
  readonly dns?: boolean;
  /** How long stop() waits for open connections to end, in ms. Default PATIENCE_MS. */
  readonly drainMs?: number;
}

export type ZtunnelOptions = NodeZtunnelOptions | InPodZtunnelOptions;

const Said = Schema.Union([ZtunnelEvent, Hop]);

export class StandInZtunnel {
  readonly pod: Pod;
  readonly #options: ZtunnelOptions;
  #process: LineProcess | undefined;
  /** How many lines of this process's history have been read. */
  #read = 0;
  #said: (Hop | ZtunnelEvent)[] = [];

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

  /** The present process, or the last one. */
  get process(): LineProcess {
    if (this.#process === undefined) throw new Error('ztunnel has not been started');
    return this.#process;
  }

  /** Every accepted connection of this process. */
  get accepted(): Hop[] {
    return this.#lines().filter((line): line is Hop => 'originalDst' in line);
  }

  /** What else it did, in order; only in inPod mode. */
  get events(): ZtunnelEvent[] {
    return this.#lines().filter((line): line is ZtunnelEvent => 'event' in line);
  }

  /** The uids of the workloads whose listeners are open. */
  get workloads(): ReadonlySet<string> {
    return servedAfter(this.events);
  }

  /** Why it ended itself: an agent that keeps to the protocol never causes this. */
  get protocolErrors(): string[] {
    return this.events.flatMap((event) => (event.event === 'protocol-error' ? [event.reason] : []));
  }

  /** Fulfilled when the process has ended: status 1 after a protocol error. */
  get exited(): Promise<Exit> {
    return this.process.exited;
  }

  /** The first event of this process that fits, past or future; rejects if the process ends without one. */
  async event<Kind extends ZtunnelEvent['event']>(
    kind: Kind,
    fits: (event: Extract<ZtunnelEvent, { event: Kind }>) => boolean = () => true,
  ): Promise<Extract<ZtunnelEvent, { event: Kind }>> {
    const isWanted = (event: ZtunnelEvent): event is Extract<ZtunnelEvent, { event: Kind }> => event.event === kind;
    for (let seen = 0; ; seen = this.process.history.length) {
      const found = this.events.filter(isWanted).find(fits);
      if (found !== undefined) return found;
      await this.process.until(() => true, seen);
    }
  }

  /** Fulfilled when the condition holds, which is checked now and after each of its lines. */
  async until(condition: (ztunnel: this) => boolean): Promise<this> {
    for (let seen = this.process.history.length; !condition(this); seen = this.process.history.length)
      await this.process.until(() => true, seen);
    return this;
  }

  /** Starts the process. In node mode it then listens; in inPod mode it connects as soon as the agent is there. */
  async start(): Promise<void> {
    const name = ['--name', this.#options.name ?? 'ztunnel'];
    this.#process = await this.pod.app.exec(['ztunnel', ...name, ...argumentsOf(this.#options)]);
    this.#read = 0;
    this.#said = [];
    await this.#process.lineMatching(/^ready$/);
  }

  /**
   * Ends the process by SIGTERM, and its listeners; the pod stays. In inPod mode it stops accepting at once and ends when its
   * connections have ended, or after `drainMs`. start() brings it back.
   */
  async stop(): Promise<void> {
    const drainMs = this.#options.mode === 'inPod' ? (this.#options.drainMs ?? PATIENCE_MS) : 0;
    await this.#process?.stop(drainMs + PATIENCE_MS);
  }

  /** SIGKILL: every listener and connection ends at once. start() brings it back. */
  async kill9(): Promise<void> {
    this.#process?.signal('SIGKILL');
    await this.#process?.exited;
  }

  /** The pod's Ready condition, as the manifest shows it. */
  setReady(ready: boolean): void {
    this.pod.update({ ready });
  }

  #lines(): readonly (Hop | ZtunnelEvent)[] {
    const { history = [] } = this.#process ?? {};
    for (; this.#read < history.length; this.#read++) {
      const line = history[this.#read] ?? '';
      if (line.startsWith('{')) this.#said.push(parseLine(Said, line));
    }
    return this.#said;
  }
}

function argumentsOf(options: ZtunnelOptions): string[] {
  if (options.mode !== 'inPod') {
    const ports = options.ports ?? [ZTUNNEL_PORTS.outbound, ZTUNNEL_PORTS.inbound, ZTUNNEL_PORTS.hbone];
    return ['--ports', ports.join(','), '--log', ...(options.mode === 'answer' ? ['--answer'] : [])];
  }
  return [
    '--zds',
    options.zdsSocket,
    '--drain-ms',
    String(options.drainMs ?? PATIENCE_MS),
    ...(options.originalSource === false ? ['--no-original-source'] : []),
    ...(options.dns === false ? ['--no-dns'] : []),
  ];
}
