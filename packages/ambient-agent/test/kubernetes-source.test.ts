// The inventory from the API: what is copied, the messages about objects and servers that cannot be used, and that neither of them
// loses anything. Everything else that a server can do is tested in packages/kubernetes.
import { KubernetesApi } from '@sluice/testbed';
import { ApiClient, type ApiAccess } from '@sluice/kubernetes';
import * as Context from 'effect/Context';
import * as Effect from 'effect/Effect';
import * as Exit from 'effect/Exit';
import * as Layer from 'effect/Layer';
import * as Scope from 'effect/Scope';
import { afterEach, describe, expect, it } from 'vitest';
import { InventorySource, kubernetesSource, logging, Readiness, type InventorySnapshot } from '../src/index.js';

const NODE = 'node-1';
const LARGE = 'x'.repeat(10_000);
const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

const podTemplate = (name: string, over: Record<string, unknown> = {}) => ({
  metadata: {
    name,
    namespace: 'shop',
    annotations: { 'ambient.istio.io/dns-capture': 'false', 'kubectl.kubernetes.io/last-applied-configuration': LARGE },
    ...over,
  },
  spec: { nodeName: NODE, containers: [{ name: 'c', image: LARGE }] },
  status: { phase: 'Running', podIP: '10.0.0.2', podIPs: [{ ip: '10.0.0.2' }] },
});

interface Opened {
  readonly api: KubernetesApi;
  readonly readiness: Readiness;
  readonly lines: string[];
  /** Fulfilled when both copies are complete. */
  readonly source: Promise<InventorySource['Service']>;
}

async function open(prepare: (api: KubernetesApi) => void = () => {}, token?: string): Promise<Opened> {
  const api = await KubernetesApi.start();
  closing.push(() => api.close());
  prepare(api);
  const headers = { authorization: `Bearer ${token ?? api.adminToken}` };
  const access: ApiAccess = {
    server: api.url,
    credentials: () => Promise.resolve({ headers, tls: { ca: api.ca } }),
    renew() {},
  };
  const readiness = new Readiness();
  const lines: string[] = [];
  const scope = Scope.makeUnsafe();
  closing.push(() => Effect.runPromise(Scope.close(scope, Exit.void)));
  const client = Effect.runSync(Scope.provide(ApiClient.open(access), scope));
  const layer = kubernetesSource({ client, nodeName: NODE, readiness, backOff: { baseMs: 5, capMs: 20 } }).pipe(
    Layer.provide(logging({ level: 'info', format: 'json' }, (line) => void lines.push(line))),
  );
  const built = Effect.map(Layer.buildWithScope(layer, scope), (context) => Context.get(context, InventorySource));
  // A scope that is closed before the copies are complete interrupts the layer.
  const source = Effect.runPromise(built);
  source.catch(() => {});
  return { api, readiness, lines, source };
}

const snapshot = async ({ source }: Opened): Promise<InventorySnapshot> => Effect.runPromise((await source).current);

describe('the inventory of the API', () => {
  it('has this node’s pods and every namespace, with only the fields that are used', async () => {
    const opened = await open((api) => {
      api.create('Namespace', { metadata: { name: 'shop', labels: { 'istio.io/dataplane-mode': 'ambient' } } });
      api.create('Pod', podTemplate('cart'));
      api.create('Pod', { ...podTemplate('elsewhere'), spec: { nodeName: 'node-2' } });
    });
    const { inventory, problems } = await snapshot(opened);
    expect([...inventory.pods.values()].map(({ name }) => name)).toEqual(['cart']);
    expect(inventory.namespaces.get('shop')?.labels).toEqual({ 'istio.io/dataplane-mode': 'ambient' });
    expect(problems).toEqual([]);
    expect(JSON.stringify([...inventory.pods.values()])).not.toContain('xxx');
    expect([...inventory.pods.values()][0]?.annotations).toEqual({ 'ambient.istio.io/dns-capture': 'false' });
    expect(opened.readiness.reasons()).toEqual([]);
  });

  it('has a pod whose securityContext cannot be understood, as one that may change its network', async () => {
    const odd = { containers: [{ name: 'c', securityContext: { privileged: 'no' } }] };
    const opened = await open((api) => {
      api.create('Pod', podTemplate('cart'));
      api.create('Pod', { ...podTemplate('odd'), spec: { nodeName: NODE, ...odd } });
    });
    const { inventory } = await snapshot(opened);
    expect([...inventory.pods.values()].map(({ name, networkAdmins }) => [name, networkAdmins])).toEqual([
      ['cart', []],
      ['odd', [{ kind: 'container', container: 'c', by: 'unknown' }]],
    ]);
  });

  it('keeps what it knew of an object that can no longer be used, and says what is wrong with it', async () => {
    const opened = await open((api) => void api.create('Pod', podTemplate('cart')));
    await snapshot(opened);
    opened.api.patch('Pod', { namespace: 'shop', name: 'cart' }, { status: { phase: 'Odd' } });
    await expect.poll(() => opened.lines.join()).toContain('status.phase');
    const line = opened.lines.find((text) => text.includes('status.phase')) ?? '';
    expect((JSON.parse(line) as { msg: string }).msg).toMatch(
      /^Pod shop\/cart of the API cannot be used at status\.phase: .*; what was known of it stays in force$/,
    );
    expect([...(await snapshot(opened)).inventory.pods.values()][0]).toMatchObject({ name: 'cart', phase: 'Running' });
  });

  it('names the right that is missing until it is complete', async () => {
    const opened = await open((api) => {
      api.allow('less', {
        name: 'less',
        rules: [{ apiGroups: [''], resources: ['namespaces'], verbs: ['list', 'watch'] }],
      });
    }, 'less');
    await expect
      .poll(() => opened.readiness.reasons().join())
      .toMatch(
        /^the Kubernetes API cannot be asked for pods, and nothing is known of them yet: .*403 Forbidden: .*; give its service account the right to list and watch pods \(ClusterRole sluice\)$/,
      );
    opened.api.allow('less', { name: 'less' });
    expect((await snapshot(opened)).problems).toEqual([]);
    expect(opened.readiness.reasons()).toEqual([]);
  });

  it('warns when the node has no pod by that name', async () => {
    const opened = await open();
    await snapshot(opened);
    expect(opened.lines.join()).toContain(
      'the API knows no pod of node node-1: is that its name in `kubectl get nodes`?',
    );
  });

  it('reports an outage once, stays ready, and reports its end', async () => {
    const opened = await open((api) => void api.create('Pod', podTemplate('cart')));
    await snapshot(opened);
    await opened.api.away();
    await expect
      .poll(async () => (await snapshot(opened)).problems)
      .toEqual([
        expect.stringMatching(/for pods, and what was known of them at \d{4}-.*Z stays in force: .*Unreachable/),
        expect.stringMatching(/for namespaces/),
      ]);
    const { inventory } = await snapshot(opened);
    expect([inventory.pods.size, opened.readiness.reasons()]).toEqual([1, []]);
    await opened.api.back();
    await expect.poll(async () => (await snapshot(opened)).problems).toEqual([]);
    const said = (text: string): number => opened.lines.filter((line) => line.includes(text)).length;
    await expect.poll(() => said('answers again')).toBe(2);
    expect(said('cannot be asked for pods')).toBe(1);
  });
});
