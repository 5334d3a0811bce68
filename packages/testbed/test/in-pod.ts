// What the tests of the stand-in ztunnel in inPod mode share: a node, a ZDS server in the agent's place, and its events.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Netns } from '@sluice/linux';
import { ZdsServer, type ZdsEvent, type ZdsServerOptions, type ZdsWorkload } from '@sluice/zds';
import type { Pod, TestNode } from '../src/index.js';

let sockets = 0;

/** A path for a socket that does not exist yet. */
export function socketPath(node: TestNode): string {
  return join(node.directory, `zds-${sockets++}.sock`);
}

/** A ZDS server, the namespaces that it is lent, and everything that it has reported. */
export class Zds implements AsyncDisposable {
  readonly server: ZdsServer;
  readonly events: ZdsEvent[] = [];
  readonly #watchers = new Set<() => void>();
  readonly #open = new Map<string, Netns>();

  constructor(path: string, pods: readonly Pod[], options: Partial<ZdsServerOptions> = {}) {
    const workloads = pods.map((pod) => this.workloadOf(pod));
    this.server = ZdsServer.listen({
      path,
      workloads,
      authorize: () => true,
      acceptsPerSecond: 1000,
      ...options,
    }).server;
    this.server.events.subscribe((event) => {
      this.events.push(event);
      for (const wake of this.#watchers) wake();
    });
  }

  workloadOf({ uid, name, namespace, netns: path }: Pod): ZdsWorkload {
    const netns = this.#open.get(uid) ?? Netns.open(path);
    this.#open.set(uid, netns);
    return { uid, name, namespace, serviceAccount: 'default', netns };
  }

  /** Fulfilled when there are so many matching events of a kind. */
  async event<Kind extends ZdsEvent['kind']>(
    kind: Kind,
    fits: (event: Extract<ZdsEvent, { kind: Kind }>) => boolean = () => true,
    count = 1,
  ): Promise<Extract<ZdsEvent, { kind: Kind }>> {
    for (;;) {
      const found = this.events.filter((event) => event.kind === kind && fits(event as never));
      if (found.length >= count) return found[count - 1] as never;
      await new Promise<void>((resolve) => this.#watchers.add(resolve));
      this.#watchers.clear();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server.close();
    for (const netns of this.#open.values()) netns.close();
    if (existsSync(this.server.path)) throw new Error(`${this.server.path} is still there`);
  }
}
