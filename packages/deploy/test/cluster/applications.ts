// The applications of the test: which pods run, which of them ought to be in the mesh, and whether every connection goes as it must.
import {
  enterCommand,
  isReady,
  peerProgram,
  restarts,
  runToEnd,
  until,
  type DialResult,
  type Hop,
  LiveObject,
  type LivePod,
  type RealCluster,
} from '@sluice/testbed';
import * as Schema from 'effect/Schema';
import { expect } from 'vitest';
import { NAMESPACE } from './release.js';
import { addressOf, expectedWay, wayOf, type Party } from './way.js';

export const MODE = 'istio.io/dataplane-mode';
const REDIRECTION = 'ambient.istio.io/redirection';

const Event = Schema.Struct({
  reason: Schema.String,
  message: Schema.String,
  involvedObject: Schema.Struct({ uid: Schema.optionalKey(Schema.String) }),
  source: Schema.optionalKey(Schema.Struct({ component: Schema.optionalKey(Schema.String) })),
});
type Event = typeof Event.Type;

interface AgentStatus {
  readonly state: { readonly workloads: readonly { readonly uid: string; readonly state: string }[] };
}

export class Applications {
  readonly #cluster: RealCluster;
  readonly #namespaces: readonly string[];
  /** The source addresses of our own dials from the node: all other connections from the node are probes. */
  readonly #dialled = new Set<string>();
  readonly #excused: RegExp[] = [];

  constructor(cluster: RealCluster, namespaces: readonly string[]) {
    this.#cluster = cluster;
    this.#namespaces = namespaces;
  }

  /** Every pod of the applications. */
  async pods(): Promise<LivePod[]> {
    return (await Promise.all(this.#namespaces.map((name) => this.#cluster.pods(name)))).flat();
  }

  /** The pods of an application, by its label. */
  async podsOf(namespace: string, application: string): Promise<LivePod[]> {
    return this.#cluster.pods(namespace, `app=${application}`);
  }

  /** From now on the test accepts Events of Sluice with such a message. */
  excuse(message: RegExp): void {
    this.#excused.push(message);
  }

  /**
   * Waits until every pod is ready, and Kubernetes and the agent both show it in or out of the mesh as it ought to be. Then
   * every connection of every pod to every pod, and of the node to every pod, has to go where the table sends it, and
   * no probe may ever have failed or met ztunnel.
   * @param isInstalled whether Sluice is installed; without it no pod is in the mesh
   */
  async check(isInstalled: boolean): Promise<void> {
    const parties = await until('every pod is ready, and annotated as its labels ask for', () =>
      this.#annotatedParties(isInstalled),
    );
    if (isInstalled) await until('the agent says the same', () => this.#compareStatus(parties));
    const ways = await this.#ways(parties);
    expect(ways.seen).toEqual(ways.expected);
    expect(parties.map(({ pod }) => [pod.metadata.name, restarts(pod)])).toEqual(
      parties.map(({ pod }) => [pod.metadata.name, 0]),
    );
    const events = await this.#cluster.kubectl.list(Event, 'events');
    expect(failedProbes(events, parties)).toEqual([]);
    expect(this.#warnings(events)).toEqual([]);
    expect(await this.#capturedProbes()).toEqual([]);
  }

  async #annotatedParties(isInstalled: boolean): Promise<Party[]> {
    const labelled = new Map(
      (await this.#cluster.kubectl.list(LiveObject, 'namespaces', [])).map(({ metadata }) => [
        metadata.name,
        metadata.labels?.[MODE] === 'ambient',
      ]),
    );
    const parties = (await this.pods()).map((pod): Party => {
      const own = pod.metadata.labels?.[MODE];
      const isWanted = own === 'ambient' || (own !== 'none' && labelled.get(pod.metadata.namespace ?? '') === true);
      return { pod, isMeshed: isInstalled && isWanted };
    });
    const state = (pod: LivePod, ready: boolean, redirection: string | undefined): unknown => [
      pod.metadata.name,
      ready,
      redirection,
    ];
    expect(parties.map(({ pod }) => state(pod, isReady(pod), pod.metadata.annotations?.[REDIRECTION]))).toEqual(
      parties.map(({ pod, isMeshed }) => state(pod, true, isMeshed ? 'enabled' : undefined)),
    );
    return parties;
  }

  async #compareStatus(parties: readonly Party[]): Promise<void> {
    const command = ['exec', '-n', NAMESPACE, 'daemonset/sluice-node', '--', 'sluice', 'status', '-o', 'json'];
    const { state } = JSON.parse((await this.#cluster.kubectl.run(command)).join('\n')) as AgentStatus;
    const said = new Map(state.workloads.map((workload) => [workload.uid, workload.state]));
    expect(parties.map(({ pod }) => [pod.metadata.name, said.get(pod.metadata.uid)])).toEqual(
      parties.map(({ pod, isMeshed }) => [pod.metadata.name, isMeshed ? 'in' : 'out']),
    );
  }

  /** Each as `from > to: way`. */
  async #ways(parties: readonly Party[]): Promise<{ seen: string[]; expected: string[] }> {
    const to = parties.map(({ pod }) => addressOf(pod));
    const callers = [...parties, undefined];
    const results = await Promise.all(
      callers.map((from) => (from === undefined ? this.#dialFromNode(to) : this.#cluster.dial(from.pod, ...to))),
    );
    const each = <T>(way: (from: Party | undefined, to: Party, i: number, j: number) => T): T[] =>
      callers.flatMap((from, i) => parties.map((target, j) => way(from, target, i, j)));
    const words = (from: Party | undefined, target: Party, way: readonly string[]): string =>
      `${from?.pod.metadata.name ?? 'the node'} > ${target.pod.metadata.name}: ${way.join('; ')}`;
    return {
      seen: each((from, target, i, j) => words(from, target, wayOf(results[i]?.[j]))),
      expected: each((from, target) => words(from, target, expectedWay(from, target))),
    };
  }

  /** A process of the node, outside every pod, that is not the kubelet. */
  async #dialFromNode(to: readonly string[]): Promise<DialResult[]> {
    const dial = [peerProgram(), 'dial', ...to.flatMap((address) => ['--to', address])];
    const lines = await runToEnd(enterCommand({ cgroup: this.#cluster.cgroup.child('host').path }, dial));
    const results = lines.map((line) => JSON.parse(line) as DialResult);
    for (const { sockname } of results) this.#dialled.add(sockname);
    return results;
  }

  /** None of these pods has a problem of its own, so Sluice must send no Event about it. */
  #warnings(events: readonly Event[]): string[] {
    return events
      .filter(({ source }) => source?.component === 'sluice')
      .map(({ message }) => message)
      .filter((message) => !this.#excused.some((pattern) => pattern.test(message)));
  }

  /** Connections from the node that ztunnel accepted and that the test did not make. */
  async #capturedProbes(): Promise<Hop[]> {
    const ztunnels = await this.#cluster.pods(NAMESPACE, 'app=ztunnel');
    const logs = await Promise.all(
      ztunnels.map(({ metadata }) => this.#cluster.kubectl.logs(NAMESPACE, metadata.name)),
    );
    const { nodeIp } = this.#cluster.network;
    return logs
      .flat()
      .filter((line) => line.includes('"originalDst"'))
      .map((line) => JSON.parse(line) as Hop)
      .filter(({ peer }) => peer?.startsWith(`${nodeIp}:`) === true && !this.#dialled.has(peer));
  }
}

/** Startup probes are left out, because they fail until the application listens. */
function failedProbes(events: readonly Event[], parties: readonly Party[]): string[] {
  const uids = new Set(parties.map(({ pod }) => pod.metadata.uid));
  return events
    .filter(({ reason, involvedObject }) => reason === 'Unhealthy' && uids.has(involvedObject.uid ?? ''))
    .map(({ message }) => message)
    .filter((message) => !message.startsWith('Startup'));
}
