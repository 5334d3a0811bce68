// What a pod's object says when Kubernetes is told something else than what is so, at either place where it is published.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { KubernetesCluster } from '../src/index.js';
import { misreported, podObject, type DescribedPod } from '../src/pod-object.js';

const pod: DescribedPod = {
  name: 'a',
  namespace: 'shop',
  uid: 'u1',
  labels: {},
  annotations: {},
  serviceAccountName: 'default',
  hostNetwork: false,
  qosClass: 'besteffort',
  nodeName: 'node-a',
  hostIp: '10.66.0.1',
  securityContext: undefined,
  containers: [{ name: 'app', id: 'c1' }],
  status: { phase: 'Running', ready: true, ips: ['10.66.0.10', 'fd66::10'] },
};

describe('a pod’s object', () => {
  test('says nothing of addresses before anything has been reported', () => {
    const { status } = podObject({ ...pod, status: undefined });
    expect(status).toEqual({
      phase: 'Pending',
      qosClass: 'BestEffort',
      conditions: [{ type: 'PodScheduled', status: 'True' }],
    });
  });

  test('has another revision exactly when it is another object', () => {
    const revision = (object: { metadata: Readonly<Record<string, unknown>> }): unknown =>
      object.metadata['resourceVersion'];
    const object = podObject(pod);
    expect(revision(podObject({ ...pod }))).toBe(revision(object));
    expect(revision(misreported(object, {}))).toBe(revision(object));
    expect(revision(misreported(object, { 'status.podIP': '' }))).not.toBe(revision(object));
    expect(revision(podObject({ ...pod, labels: { a: 'b' } }))).not.toBe(revision(object));
  });

  test('says what it is told to: a field is absent, empty, or wrong', () => {
    const object = podObject(pod);
    const told = misreported(object, {
      'status.podIP': undefined,
      'status.podIPs': [],
      'metadata.creationTimestamp': '2026-01-01T00:00:00Z',
      'spec.nodeName': '',
      'some.thing.new': 1,
    });
    expect(Object.hasOwn(told['status'] as object, 'podIP')).toBe(false);
    expect(told).toMatchObject({
      metadata: { name: 'a', creationTimestamp: '2026-01-01T00:00:00Z' },
      spec: { nodeName: '' },
      status: { podIPs: [], phase: 'Running' },
      some: { thing: { new: 1 } },
    });
    expect(object).toMatchObject({ status: { podIP: '10.66.0.10' } });
    expect(() => misreported(object, { 'kind.of': 1 })).toThrow('kind.of: kind of Pod a is no object');
  });
});

describe('an API server that is told so', () => {
  const directory = mkdtempSync(join(tmpdir(), 'misreport-'));
  afterAll(() => rmSync(directory, { recursive: true }));

  test('has the object as it was told, without what is not said any more, and with what others wrote', async () => {
    await using cluster = await KubernetesCluster.start(directory);
    const at = { namespace: 'shop', name: 'a' };
    const truth = podObject(pod);
    cluster.ensureNamespace('shop');
    cluster.write(truth);
    await cluster.settled();
    await cluster.api.call('patch', 'Pod', at, {
      metadata: { annotations: { theirs: 'x' } },
      status: { theirs: 'x' },
    });
    cluster.write(misreported(truth, { 'status.podIP': undefined, 'status.podIPs': undefined, 'status.phase': '' }));
    const told = await cluster.get('Pod', at);
    expect(Object.keys(told?.['status'] as object)).not.toEqual(expect.arrayContaining(['podIP']));
    expect(Object.keys(told?.['status'] as object)).not.toEqual(expect.arrayContaining(['podIPs']));
    expect(told).toMatchObject({
      metadata: { uid: 'u1', annotations: { theirs: 'x' } },
      status: { phase: '', theirs: 'x', qosClass: 'BestEffort' },
    });
    cluster.write(misreported(truth, { 'metadata.deletionTimestamp': '2026-01-01T00:00:00Z' }));
    expect(await cluster.get('Pod', at)).toMatchObject({
      metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' },
      status: { podIP: '10.66.0.10', phase: 'Running' },
    });
    cluster.write(truth);
    expect(Object.keys((await cluster.get('Pod', at))?.metadata ?? {})).not.toContain('deletionTimestamp');
  });
});
