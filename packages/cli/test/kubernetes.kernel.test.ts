// The Kubernetes API as the source, on a real kernel: the built command, real pods, the API double over HTTPS with exactly the
// chart's rights. No pod may be announced before it is captured.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  endpoint,
  requires,
  type DialResult,
  type KubernetesCluster,
  type Pod,
  type StandInZtunnel,
} from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chartRules } from './chart-rules.js';
import { netnsPins, plumbingOf } from './in-pod-traces.js';
import { NodeAgent, OWN_DAEMON_SET } from './node-agent.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
const ambient = { 'istio.io/dataplane-mode': 'ambient' };
const TOKEN = 'sluice';
const wayOf = (result: DialResult): string => (result.ok ? result.hops.map(({ by }) => by).join(' > ') : result.error);

type Host = NodeAgent<KubernetesCluster>;

async function allowed(settings: Record<string, unknown> = {}): Promise<Host> {
  const host = await NodeAgent.createOnApi(settings, TOKEN);
  await host.node.kubernetes.api.call('allow', TOKEN, {
    name: 'system:serviceaccount:istio-system:sluice',
    rules: chartRules(),
  });
  return host;
}

const annotationOf = async (host: Host, { namespace, name }: Pod): Promise<string | undefined> =>
  (await host.node.kubernetes.get('Pod', { namespace, name }))?.metadata.annotations?.['ambient.istio.io/redirection'];

const announced = (host: Host, pod: Pod, value: string | undefined): Promise<void> =>
  expect.poll(() => annotationOf(host, pod)).toBe(value);

describe.skipIf(need.skip)(`the agent with the Kubernetes API${need.label}`, () => {
  let host: Host;
  let ztunnel: StandInZtunnel;
  let shop: Pod;
  let plain: Pod;
  let untouched: string[];
  beforeAll(async () => {
    host = await allowed({ metrics: { listen: '127.0.0.1:0' } });
    const { kubernetes } = host.node;
    kubernetes.setNamespace('shop', ambient);
    kubernetes.setNamespace('plain', {});
    ztunnel = await host.node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket });
    shop = await host.node.pod({ namespace: 'shop', name: 'cart', serve: [8080] });
    plain = await host.node.pod({ namespace: 'plain', name: 'blog', serve: [8080] });
    untouched = await plumbingOf(shop);
    await host.agent.start();
  });
  afterAll(() => host?.node.close());

  const outside = (): string => endpoint(host.node.remote.ip4, 80);
  const counted = async (...lines: RegExp[]): Promise<void> => {
    for (const line of lines) await expect.poll(async () => (await host.get('/metrics')).body).toMatch(line);
  };

  it('enrols a pod of a labelled namespace and announces it, and no other pod', async () => {
    await announced(host, shop, 'enabled');
    expect(wayOf(await shop.dial(outside()))).toBe('ztunnel > remote');
    expect([wayOf(await plain.dial(outside())), await annotationOf(host, plain)]).toEqual(['remote', undefined]);
    const { stdout } = await host.sluice('status');
    expect(stdout).toContain('inventory the Kubernetes API');
    await expect.poll(() => host.get('/readyz')).toEqual({ status: 200, body: 'ready\n' });
  });

  it('announces a pod only once it is captured, and withdraws that before the capture ends', async () => {
    const observed: string[] = [];
    const look = async (): Promise<boolean> => {
      // The annotation is read before and after the dial, so a change in between makes no wrong order look right, and no
      // right order look wrong.
      const before = await annotationOf(host, plain);
      const way = wayOf(await plain.dial(outside()));
      const after = await annotationOf(host, plain);
      if (before === 'enabled' && after === 'enabled' && way === 'remote') observed.push('announced, and not captured');
      return before === after;
    };
    host.node.kubernetes.setNamespace('plain', ambient);
    while ((await annotationOf(host, plain)) !== 'enabled') await look();
    // The server is slow to remove the annotation; meanwhile the pod must stay captured.
    await host.node.kubernetes.api.call(
      'inject',
      { kind: 'slow', delayMs: 700 },
      { verb: 'patch', resource: 'pods/status' },
    );
    host.node.kubernetes.setNamespace('plain', {});
    while ((await annotationOf(host, plain)) !== undefined) await look();
    await expect.poll(async () => wayOf(await plain.dial(outside()))).toBe('remote');
    expect(observed).toEqual([]);
  });

  it('announces a pod that ztunnel does not serve as pending, and tells its owner what is wrong', async () => {
    await ztunnel.stop();
    const waiting = await host.node.pod({
      namespace: 'shop',
      name: 'waiting',
      annotations: { 'ambient.istio.io/dns-capture': 'maybe' },
    });
    await announced(host, waiting, 'pending');
    await expect
      .poll(() => host.get('/readyz'))
      .toEqual({
        status: 503,
        body: expect.stringMatching(
          /^no ztunnel is connected at .*, although this node has istio-system\/ztunnel$/m,
        ) as unknown,
      });
    // A problem that lasts is reported by the next pass that looks at everything.
    await expect
      .poll(() => host.node.kubernetes.list('Event'))
      .toContainEqual(
        expect.objectContaining({
          type: 'Warning',
          reason: 'NotInMesh',
          involvedObject: expect.objectContaining({
            kind: 'Pod',
            namespace: 'shop',
            name: 'waiting',
            uid: waiting.uid,
          }) as unknown,
          message: expect.stringContaining('dns-capture: `maybe` is neither true nor false') as unknown,
        }),
      );
    await ztunnel.start();
    await announced(host, waiting, 'enabled');
    await waiting.delete();
  });

  it('goes on with what it knows while the server is away, and follows the changes when it is back', async () => {
    const { kubernetes } = host.node;
    await kubernetes.away();
    await host.said(/the Kubernetes API cannot be asked for pods, and what was known of them at/);
    expect(wayOf(await shop.dial(outside()))).toBe('ztunnel > remote');
    expect((await host.get('/readyz')).status).toBe(200);
    await counted(
      /^sluice_api_connected\{resource="pods"\} 0$/m,
      /^sluice_api_requests\{resource="pods",what="failed: Unreachable"\} [1-9]/m,
    );
    await expect.poll(() => host.status().warnings.join()).toContain('the Kubernetes API cannot be asked for pods');
    kubernetes.setNamespace('plain', ambient);
    // A new container of a pod in the mesh is in the mesh from its first connection on.
    const late = await shop.startContainer('late');
    expect(wayOf(await late.dial(outside()))).toBe('ztunnel > remote');
    await kubernetes.back();
    await announced(host, plain, 'enabled');
    expect(wayOf(await plain.dial(outside()))).toBe('ztunnel > remote');
    kubernetes.setNamespace('plain', {});
    await announced(host, plain, undefined);
    await expect.poll(() => host.status().warnings).toEqual([]);
  });

  it('puts its annotation back once, and leaves it if somebody changes it again', async () => {
    const { api } = host.node.kubernetes;
    const take = (): Promise<unknown> =>
      api.call(
        'patch',
        'Pod',
        { namespace: 'shop', name: 'cart' },
        { metadata: { annotations: { 'ambient.istio.io/redirection': null } } },
      );
    await take();
    await announced(host, shop, 'enabled');
    // By the time that it announces another pod, the agent has seen its own write.
    host.node.kubernetes.setNamespace('plain', ambient);
    await announced(host, plain, 'enabled');
    await take();
    await expect
      .poll(() => host.status().warnings.join())
      .toMatch(/the annotation of pod shop\/cart is not what it ought to be: somebody else removes it/);
    expect(await annotationOf(host, shop)).toBeUndefined();
    host.node.kubernetes.setNamespace('plain', {});
  });

  it('changes what it logs while it runs', async () => {
    expect(host.log.some((line) => line.includes('"level":"debug"'))).toBe(false);
    expect(await host.sluice('log-level', 'debug')).toMatchObject({ code: 0, stdout: 'debug\n' });
    await host.said(/"level":"debug","msg":"the log level is now debug"/);
    host.node.kubernetes.setNamespace('another', {});
    await host.said(/"level":"debug","msg":"reconciled"/);
    expect(await host.sluice('log-level', 'configured')).toMatchObject({ code: 0, stdout: 'configured\n' });
    await host.said(/"msg":"the log level is now info"/);
  });

  it('has the metrics that istio-cni’s dashboards show', async () => {
    await counted(
      /^ztunnel_connected 1$/m,
      /^nodeagent_reconcile_events_total\{type="add"\} [1-9]/m,
      /^nodeagent_reconcile_events_total\{type="update"\} [1-9]/m,
      /^sluice_api_age_seconds\{resource="namespaces"\} \d/m,
    );
  });

  it('waits for a server that is away when it starts: alive, not ready, and the datapath stays in force', async () => {
    const { kubernetes } = host.node;
    await host.agent.stop();
    await kubernetes.away();
    const started = host.agent.start();
    await host.said(/nothing is known of them yet/);
    expect((await host.get('/healthz')).status).toBe(200);
    const { status, body } = await host.get('/readyz');
    expect([status, body]).toEqual([503, expect.stringContaining('the Kubernetes API cannot be asked for pods')]);
    expect(wayOf(await shop.dial(outside()))).toBe('ztunnel > remote');
    await kubernetes.back();
    await started;
    await announced(host, shop, 'enabled');
  });

  it('leaves everything in force at SIGTERM while its DaemonSet exists', async () => {
    const { code } = await host.agent.stop();
    expect([code, wayOf(await shop.dial(outside())), await annotationOf(host, shop)]).toEqual([
      0,
      'ztunnel > remote',
      'enabled',
    ]);
    expect(netnsPins(host.bpffs)).not.toEqual([]);
    await host.agent.start();
  });

  it('makes no request that the chart does not allow', async () => {
    const requests = await host.node.kubernetes.api.call('requests');
    const own = requests.filter(({ user }) => user.endsWith(':sluice'));
    expect(new Set(own.map(({ verb, resource }) => `${verb} ${resource}`))).toEqual(
      new Set([
        'list pods',
        'watch pods',
        'list namespaces',
        'watch namespaces',
        'patch pods/status',
        'create events',
        'get daemonsets',
      ]),
    );
    expect(own.filter(({ code }) => code === 401 || code === 403)).toEqual([]);
  });

  it('leaves nothing when its DaemonSet is being deleted', async () => {
    // A ztunnel that has not connected again would not learn that its pods leave.
    await expect
      .poll(() => host.status().state)
      .toMatchObject({
        agent: { pid: host.agent.process.pid },
        zds: { connections: [{ pid: ztunnel.process.pid, isSynced: true }] },
      });
    const name = { namespace: OWN_DAEMON_SET.POD_NAMESPACE, name: OWN_DAEMON_SET.DAEMONSET_NAME };
    await host.node.kubernetes.api.call('patch', 'DaemonSet', name, {
      metadata: { deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: ['foregroundDeletion'] },
    });
    // The patch takes longer than a pass waits for it.
    const unavailable = { kind: 'status', code: 503 } as const;
    await host.node.kubernetes.api.call('inject', unavailable, { verb: 'patch', resource: 'pods/status', times: 3 });
    const { code } = await host.agent.stop();
    expect([code, await annotationOf(host, shop), wayOf(await shop.dial(outside()))]).toEqual([0, undefined, 'remote']);
    expect(existsSync(join(host.bpffs, 'sluice'))).toBe(false);
    expect(await plumbingOf(shop)).toEqual(untouched);
    expect(existsSync(host.runDir) ? readdirSync(host.runDir) : []).toEqual([]);
    await ztunnel.until(({ workloads }) => workloads.size === 0);
    expect(host.log.at(-1)).toContain('removed from this node');
  });
});

describe.skipIf(need.skip)(`a rule that the chart grants, taken away${need.label}`, () => {
  it.each([
    [
      'pods',
      'list',
      /the Kubernetes API cannot be asked for pods.*LIST|GET .*403 Forbidden.*the right to list and watch pods/,
    ],
    [
      'pods',
      'watch',
      /the Kubernetes API cannot be asked for pods.*WATCH .*403 Forbidden.*the right to list and watch pods/,
    ],
    [
      'namespaces',
      'list',
      /the Kubernetes API cannot be asked for namespaces.*403 Forbidden.*the right to list and watch namespaces/,
    ],
    ['namespaces', 'watch', /the Kubernetes API cannot be asked for namespaces.*WATCH .*403 Forbidden/],
    [
      'pods/status',
      'patch',
      /the annotation of a pod could not be written: .*403 Forbidden.*give its service account `patch` on `pods\/status`/,
    ],
    [
      'events',
      'create',
      /the event of a pod could not be written: .*403 Forbidden.*give its service account `create` on `events`/,
    ],
    [
      'daemonsets',
      'get',
      /whether this is an uninstall cannot be known, so the datapath stays in force.*403 Forbidden/,
    ],
  ])('is missed by name: %s %s', async (resource, verb, message) => {
    const host = await allowed({ resyncInterval: '2s' });
    await using node = host.node;
    const { kubernetes } = node;
    const rules = chartRules().map((rule) =>
      rule.resources.includes(resource) ? { ...rule, verbs: rule.verbs.filter((one) => one !== verb) } : rule,
    );
    await kubernetes.api.call('allow', TOKEN, { name: 'less', rules });
    kubernetes.setNamespace('shop', ambient);
    await node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket });
    const cart = await node.pod({
      namespace: 'shop',
      name: 'cart',
      annotations: { 'ambient.istio.io/dns-capture': 'maybe' },
    });
    await kubernetes.settled();
    const started = host.agent.start().catch(() => 'ended');
    if (resource === 'daemonsets') {
      await started;
      await announced(host, cart, 'enabled');
      await host.agent.stop();
      expect([await annotationOf(host, cart), netnsPins(host.bpffs).length]).toEqual(['enabled', 1]);
      // The message asks for this command, which withdraws what was announced.
      const { stdout } = await host.sluice('cleanup');
      expect(stdout).toMatch(/^withdrew {2}the annotation of pod shop\/cart$/m);
      expect([await annotationOf(host, cart), netnsPins(host.bpffs)]).toEqual([undefined, []]);
    }
    await host.said(message);
    if (resource !== 'daemonsets') await host.agent.kill9();
    await started;
  });
});
