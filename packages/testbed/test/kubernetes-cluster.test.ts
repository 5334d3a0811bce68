// A client sees of the API double what it would see of a real server: creations, patches, deletions.
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { KubernetesCluster, type KubernetesObject } from '../src/index.js';

const REDIRECTION = 'ambient.istio.io/redirection';

interface PodParts {
  readonly uid?: string;
  readonly labels?: Record<string, string>;
  readonly annotations?: Record<string, string>;
  readonly phase?: string;
}

function pod({ uid = 'u1', labels = {}, annotations = {}, phase = 'Running' }: PodParts = {}): KubernetesObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'a', namespace: 'shop', uid, labels, annotations, resourceVersion: '7' },
    spec: { nodeName: 'node-a', containers: [{ name: 'app' }] },
    status: { phase, podIPs: [{ ip: '10.66.0.10' }] },
  };
}

describe('a cluster behind the API double', () => {
  let directory: string;
  let cluster: KubernetesCluster;
  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'cluster-'));
    cluster = await KubernetesCluster.start(directory);
  });
  afterEach(async () => {
    await cluster.close();
    rmSync(directory, { recursive: true });
  });

  const at = { namespace: 'shop', name: 'a' };
  const metadata = async () => (await cluster.get('Pod', at))?.metadata;
  /** As the agent does it. */
  const annotate = (value: string | null) =>
    cluster.api.call('patch', 'Pod', at, { metadata: { annotations: { [REDIRECTION]: value } } });

  test('a namespace has exactly the labels that it was given last', async () => {
    cluster.ensureNamespace('shop');
    const uid = (await cluster.get('Namespace', { name: 'shop' }))?.metadata.uid;
    cluster.setNamespace('shop', { 'istio.io/dataplane-mode': 'ambient', team: 'a' });
    cluster.setNamespace('shop', { team: 'b' });
    cluster.ensureNamespace('shop');
    const shop = await cluster.get('Namespace', { name: 'shop' });
    expect(shop?.metadata).toMatchObject({ uid, labels: { team: 'b', 'kubernetes.io/metadata.name': 'shop' } });
    expect(shop?.metadata.labels).not.toHaveProperty('istio.io/dataplane-mode');
    expect((await cluster.list('Namespace')).map((namespace) => namespace.metadata.name)).toContain('shop');
  });

  test('an update keeps the uid and what others wrote, and replaces labels and status', async () => {
    cluster.write(pod({ labels: { app: 'a', tier: 'x' } }));
    const first = await metadata();
    expect(first?.uid).toBe('u1');
    await annotate('enabled');
    cluster.write(pod({ labels: { app: 'b' }, phase: 'Failed' }));
    const later = await cluster.get('Pod', at);
    expect(later?.metadata).toMatchObject({
      uid: 'u1',
      creationTimestamp: first?.['creationTimestamp'],
      annotations: { [REDIRECTION]: 'enabled' },
    });
    expect(later?.metadata.labels).toEqual({ app: 'b' });
    expect(later?.metadata.resourceVersion).not.toBe(first?.resourceVersion);
    expect(later?.['status']).toMatchObject({ phase: 'Failed', podIPs: [{ ip: '10.66.0.10' }] });
  });

  test('of the annotations an update changes only those whose text differs from before', async () => {
    cluster.write(pod({ annotations: { [REDIRECTION]: 'enabled', ports: '80', gone: 'x' } }));
    await cluster.settled();
    await annotate(null);
    cluster.write(pod({ annotations: { [REDIRECTION]: 'enabled', ports: '81' } }));
    expect((await metadata())?.annotations).toEqual({ ports: '81' });
  });

  test('writing the same again uses no revision', async () => {
    cluster.write(pod());
    const first = await metadata();
    cluster.write(pod());
    expect(await metadata()).toEqual(first);
  });

  test('another uid is another pod, and the removal of the old one leaves the new one', async () => {
    cluster.write(pod({ annotations: { [REDIRECTION]: 'enabled' } }));
    cluster.write(pod({ uid: 'u2' }));
    cluster.remove(pod({ uid: 'u1' }));
    expect(await metadata()).toMatchObject({ uid: 'u2', annotations: {} });
    cluster.remove(pod({ uid: 'u2' }));
    cluster.remove(pod({ uid: 'u2' }));
    expect(await cluster.get('Pod', at)).toBeUndefined();
  });

  test('an object counts as it was when it was written, in the order of the calls', async () => {
    const labels: Record<string, string> = { n: '0' };
    for (let n = 1; n <= 20; n++) {
      labels['n'] = String(n);
      cluster.write(pod({ labels }));
    }
    labels['n'] = 'later';
    expect((await metadata())?.labels).toEqual({ n: '20' });
  });

  test('a failure is reported once, and does not hold up what comes after it', async () => {
    cluster.write({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'a', namespace: 'shop' } });
    cluster.write(pod());
    await expect(cluster.settled()).rejects.toThrow(
      'cannot write Secret shop/a at the API double: the API double has no kind Secret; add a row to resources.ts',
    );
    expect((await metadata())?.uid).toBe('u1');
  });

  test('it changes while its port is closed', async () => {
    await cluster.away();
    cluster.write(pod());
    await cluster.settled();
    await cluster.back();
    expect((await metadata())?.uid).toBe('u1');
  });

  test('a kubeconfig for each token, which nobody else may read', () => {
    const paths = [cluster.kubeconfig(), cluster.kubeconfig('../agent'), cluster.kubeconfig()];
    expect(paths[2]).toBe(paths[0]);
    for (const [path, token] of [
      [paths[0], 'admin'],
      [paths[1], '../agent'],
    ])
      expect(JSON.parse(readFileSync(path ?? '', 'utf8'))).toMatchObject({
        clusters: [{ cluster: { server: cluster.api.url } }],
        users: [{ user: { token } }],
      });
    expect(paths.map((path) => statSync(path).mode & 0o077)).toEqual([0, 0, 0]);
  });
});
