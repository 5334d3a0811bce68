// A node whose pods are published to the API double: what a client of the server sees of their lives.
import { readFileSync, existsSync } from 'node:fs';
import { request } from 'node:https';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { requires, TestNode, type KubernetesCluster } from '../src/index.js';

const need = requires('root', 'cgroup2', 'netns');

interface Kubeconfig {
  readonly clusters: readonly { readonly cluster: { readonly server: string; 'certificate-authority-data': string } }[];
  readonly users: readonly { readonly user: { readonly token: string } }[];
}

/** The status code of an answer to a request made only with what the kubeconfig says. */
function get(kubeconfig: string, path: string): Promise<number> {
  const { clusters, users } = JSON.parse(readFileSync(kubeconfig, 'utf8')) as Kubeconfig;
  const { server = '', 'certificate-authority-data': authority = '' } = clusters[0]?.cluster ?? {};
  const headers = { authorization: `Bearer ${users[0]?.user.token}` };
  return new Promise((resolve, reject) => {
    const ca = Buffer.from(authority, 'base64');
    request(`${server}${path}`, { headers, ca, agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    })
      .on('error', reject)
      .end();
  });
}

describe.skipIf(need.skip)(`a node published to the API double${need.label}`, () => {
  let node: TestNode<KubernetesCluster>;
  beforeEach(async () => {
    node = await TestNode.create({ kubernetes: 'api', remotePorts: [] });
  });
  afterEach(() => node?.close());

  test('a pod comes with its namespace, changes in place, and goes', async () => {
    const { kubernetes } = node;
    const shop = await node.pod({ namespace: 'shop', name: 'a', labels: { app: 'a' } });
    const at = { namespace: 'shop', name: 'a' };
    expect((await kubernetes.get('Pod', at))?.metadata.uid).toBe(shop.uid);
    expect(await kubernetes.get('Namespace', { name: 'shop' })).toBeDefined();
    expect((await kubernetes.list('Node')).map(({ metadata }) => metadata.name)).toEqual([node.name]);
    const annotations = { 'ambient.istio.io/redirection': 'enabled' };
    await kubernetes.api.call('patch', 'Pod', at, { metadata: { annotations } });
    shop.update({ labels: { app: 'b' }, ready: false });
    const changed = await kubernetes.get('Pod', at);
    expect(changed?.metadata).toMatchObject({ uid: shop.uid, labels: { app: 'b' }, annotations });
    expect(changed?.['status']).toMatchObject({ podIPs: shop.ips.map((ip) => ({ ip })) });
    await shop.delete();
    expect(await kubernetes.list('Pod')).toEqual([]);
  });

  test('ztunnel is published when it listens, and its readiness can change', async () => {
    const ztunnel = await node.ztunnel();
    const ready = async () => {
      const status = (await node.kubernetes.get('Pod', { namespace: 'istio-system', name: 'ztunnel' }))?.['status'];
      return (status as { conditions: { type: string; status: string }[] }).conditions.find(
        ({ type }) => type === 'Ready',
      )?.status;
    };
    expect(await ready()).toBe('True');
    ztunnel.setReady(false);
    expect(await ready()).toBe('False');
  });

  test('the kubeconfig opens the API, and that of a token with rules only what they allow', async () => {
    const rules = [{ apiGroups: [''], resources: ['namespaces'], verbs: ['list', 'watch'] }];
    await node.kubernetes.api.call('allow', 'agent', { name: 'agent', rules });
    const asked = ['/api/v1/namespaces', '/api/v1/pods'];
    expect(await Promise.all(asked.map((path) => get(node.kubeconfig, path)))).toEqual([200, 200]);
    expect(await Promise.all(asked.map((path) => get(node.kubernetes.kubeconfig('agent'), path)))).toEqual([200, 403]);
  });

  test('the server ends with the node, and its kubeconfig goes', async () => {
    const path = node.kubeconfig;
    await node.close();
    await node.close();
    expect(node.kubernetes.api.process.running).toBe(false);
    expect(existsSync(path)).toBe(false);
  });

  test('a node that publishes to a directory says that it has no kubeconfig', async () => {
    await using other = await TestNode.create({ remotePorts: [], remoteDns: false });
    expect(() => other.kubeconfig).toThrow("create it with { kubernetes: 'api' }");
  });
});
