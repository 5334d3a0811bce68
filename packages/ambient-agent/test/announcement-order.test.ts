// A pod is announced last when it joins the mesh, and the announcement is withdrawn first when it leaves.
import * as Effect from 'effect/Effect';
import * as Layer from 'effect/Layer';
import * as Stream from 'effect/Stream';
import { describe, expect, it } from 'vitest';
import {
  Announcements,
  InventorySource,
  LastingNeeds,
  LetGo,
  reconcilePass,
  redirectionOf,
  type Inventory,
  type PassPlaces,
  type PassResult,
  type Pod,
  type WorkloadStatus,
} from '../src/index.js';
import { Leaving } from '../src/reconcile/leaving.js';
import { LingeringAddresses } from '../src/reconcile/lingering-addresses.js';
import { ListenerSights } from '../src/reconcile/listener-sights.js';
import { Patience } from '../src/reconcile/patience.js';
import { Recorder } from './recorder.js';
import { config, HOST_COOKIE, inventory, pod, workload } from './world.js';

const AMBIENT = { 'istio.io/dataplane-mode': 'ambient' };
const COOKIE = 7n;

/** A node with one pod, and with another one if that is set. Its services and announcements write into one log. */
class Node {
  readonly services = new Recorder();
  pod: Pod = pod('a', { labels: AMBIENT, namespace: 'plain', ips: ['10.0.0.2'] });
  other: Pod | undefined;
  readonly #places: PassPlaces;

  /** @param leaveGrace how long a pod stays after its announcement was withdrawn */
  constructor(leaveGrace = '0s') {
    this.#places = {
      view: {
        cgroups: () => [...this.#workloads().values()].map((each) => each.pod),
        read: () => ({
          workloads: this.#workloads(),
          kubelets: [],
          root: { path: '/cg', id: 1n },
          podsParents: [{ path: '/cg/kubepods', id: 2n }],
          hostNetnsCookie: HOST_COOKIE,
          hostNetnsInode: 4n,
          problems: [],
        }),
        findNetns: () => undefined,
      },
      config: config({ mode: 'inPod', ambient: { leaveGrace } }),
      doneNetns: this.services.done,
      sights: new ListenerSights(new Set()),
      lasting: new LastingNeeds(),
      known: { complete: (known: Inventory) => known },
      leaving: new Leaving(),
      lingering: new LingeringAddresses(),
      patience: new Patience(60_000),
      letGo: new LetGo(),
      out: new Set(),
      lacking: new Map(),
    } as unknown as PassPlaces;
  }

  #workloads(): Map<string, ReturnType<typeof workload>> {
    const first = ['a', workload('a', 100n, COOKIE)] as const;
    return new Map(this.other === undefined ? [first] : [first, ['b', workload('b', 101n, COOKIE + 1n)]]);
  }

  async pass(): Promise<string[]> {
    await this.result();
    return this.services.take();
  }

  async result(): Promise<PassResult> {
    const { log } = this.services;
    const said = (statuses: readonly WorkloadStatus[]): string =>
      statuses.map((status) => `${status.uid}=${redirectionOf(status) ?? 'none'}`).join();
    const others = Layer.mergeAll(
      Layer.succeed(
        InventorySource,
        InventorySource.of({
          current: Effect.sync(() => ({
            inventory: inventory([this.pod, ...(this.other === undefined ? [] : [this.other])]),
            problems: [],
          })),
          changes: Stream.empty,
          copies: () => [],
        }),
      ),
      Layer.succeed(
        Announcements,
        Announcements.of({
          withdraw: (statuses) => Effect.sync(() => void log.push(`withdraw but ${said(statuses)}`)),
          publish: (statuses) =>
            Effect.as(
              Effect.sync(() => log.push(`publish ${said(statuses)}`)),
              [],
            ),
        }),
      ),
    );
    return Effect.runPromise(
      Effect.provide(reconcilePass(this.#places, false), Layer.merge(others, this.services.layers())),
    );
  }
}

describe('the announcement of a pod', () => {
  it('is pending until ztunnel has acknowledged the pod, and follows everything that is done for it', async () => {
    const node = new Node();
    expect(await node.pass()).toEqual([
      'plumb 7',
      'route 7',
      'attach 7',
      'withdraw but a=pending',
      'attach programs',
      'maps',
      'detach programs',
      'offer a',
      'publish a=pending',
    ]);
    node.services.acknowledged.set('a', COOKIE);
    expect(await node.pass()).toEqual([
      'withdraw but a=enabled',
      'attach programs',
      'maps',
      'detach programs',
      'offer a',
      'publish a=enabled',
    ]);
  });

  it('is withdrawn first, and the pod stays in the mesh until its peers have heard of it', async () => {
    const node = new Node('1h');
    await node.pass();
    node.services.acknowledged.set('a', COOKIE);
    await node.pass();
    node.pod = { ...node.pod, labels: {} };
    for (let passes = 0; passes < 2; passes += 1)
      expect(await node.pass()).toEqual([
        'withdraw but a=none',
        'attach programs',
        'maps',
        'detach programs',
        'offer a',
        'publish a=none',
      ]);
    node.pod = { ...node.pod, labels: AMBIENT };
    expect(await node.pass()).toContain('publish a=enabled');
  });

  it('is withdrawn before the pod’s maps, program, ztunnel and namespace', async () => {
    const node = new Node();
    node.services.acknowledged.set('a', COOKIE);
    await node.pass();
    node.pod = { ...node.pod, labels: {} };
    expect(await node.pass()).toEqual([
      'withdraw but a=none',
      'attach programs',
      'maps',
      'detach programs',
      'detach 7',
      'unroute 7',
      'offer',
      'restore 7',
      'publish a=none',
    ]);
  });

  it('is withdrawn in a pass in which another pod comes, and what the pod leaves behind is taken away at once', async () => {
    const node = new Node();
    await node.pass();
    node.services.acknowledged.set('a', COOKIE);
    await node.pass();
    node.pod = { ...node.pod, labels: {} };
    node.other = pod('b', { labels: AMBIENT, namespace: 'plain', ips: ['10.0.0.3'] });
    expect((await node.result()).dueMs).toBe(0);
  });
});
