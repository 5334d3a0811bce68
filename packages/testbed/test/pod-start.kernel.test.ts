// In which order a pod comes to be, step by step, and in which other orders it can.
import { existsSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  Attempts,
  Dialler,
  dialsAtOnce,
  endpoint,
  enterCommand,
  KUBELET_ORDER,
  KUBELET_PAUSES,
  moved,
  requires,
  runToEnd,
  TestNode,
  usurps,
  wayOf,
  without,
  type Pod,
  type PodStart,
} from '../src/index.js';

const need = requires('root', 'cgroup2', 'netns');

/** Which steps have left their traces. */
async function traces(node: TestNode, pod: Pod): Promise<string[]> {
  const object = node.kubernetes.read('Pod', { namespace: pod.namespace, name: pod.name }) ?? '';
  const hasNetns = attempt(() => readlinkSync(pod.netns)) !== undefined;
  const ip = ['ip', '-o', 'addr', 'show', 'scope', 'global'];
  const addresses = hasNetns ? await runToEnd(enterCommand({ netns: pod.netns }, ip)) : [];
  return [
    ...(object === '' ? [] : ['object']),
    ...(existsSync(join(node.cgroup.path, 'kubepods/besteffort', `pod${pod.uid}`)) ? ['cgroup'] : []),
    ...(existsSync(pod.logs) ? ['logs'] : []),
    ...(hasNetns ? ['netns'] : []),
    ...(addresses.some((line) => line.includes(` ${pod.ip4}/`)) ? ['addresses'] : []),
    ...pod.containers.filter(({ process }) => process.running).map(({ name }) => name),
    ...(object.includes(`podIP: "${pod.ip4}"`) && object.includes('phase: "Running"') ? ['status'] : []),
  ];
}

function attempt<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch {
    return undefined;
  }
}

describe.skipIf(need.skip)(`the start of a pod${need.label}`, () => {
  let node: TestNode;
  beforeAll(async () => {
    node = await TestNode.create();
  });
  afterAll(() => node?.close());

  const outside = (): string => endpoint(node.remote.ip4, 80);

  test('is the kubelet’s by default: each step leaves its traces before the next one', async () => {
    const pod = node.plan({ name: 'ordinary' });
    expect(await traces(node, pod)).toEqual([]);
    for (const [n, step] of KUBELET_ORDER.entries()) {
      await pod.start([step]);
      expect(await traces(node, pod)).toEqual(KUBELET_ORDER.slice(0, n + 1));
    }
    expect((await pod.dial(outside())).ok).toBe(true);
    await pod.delete();
    expect(await traces(node, pod)).toEqual([]);
    const whole = await node.pod({ name: 'whole' });
    expect(await traces(node, whole)).toEqual(KUBELET_ORDER);
  });

  test.each<[string, PodStart, readonly string[]]>([
    [
      'without pause',
      without(KUBELET_ORDER, 'sandbox'),
      ['object', 'cgroup', 'logs', 'netns', 'addresses', 'app', 'status'],
    ],
    [
      'without a directory of logs',
      without(KUBELET_ORDER, 'logs'),
      ['object', 'cgroup', 'netns', 'addresses', 'sandbox', 'app', 'status'],
    ],
    [
      'and its status never comes',
      without(KUBELET_ORDER, 'status'),
      ['object', 'cgroup', 'logs', 'netns', 'addresses', 'sandbox', 'app'],
    ],
    [
      'without any object',
      without(KUBELET_ORDER, 'object', 'status'),
      ['cgroup', 'logs', 'netns', 'addresses', 'sandbox', 'app'],
    ],
    ['with its object late', moved(KUBELET_ORDER, 'object', { after: 'app' }), KUBELET_ORDER],
    ['with its directory of logs before its cgroup', moved(KUBELET_ORDER, 'cgroup', { after: 'logs' }), KUBELET_ORDER],
    ['with its addresses after pause', moved(KUBELET_ORDER, 'addresses', { after: 'sandbox' }), KUBELET_ORDER],
    ['with a real kubelet’s pauses', KUBELET_PAUSES, KUBELET_ORDER],
  ])('%s', async (_, start, wanted) => {
    const pod = await node.pod({ name: 'another', start });
    expect(await traces(node, pod)).toEqual(wanted);
    expect((await pod.dial(outside())).ok).toBe(true);
    await pod.delete();
  });

  test('a pod that is not to be published has no object, until it is published', async () => {
    const pod = await node.pod({ name: 'secret', publish: false });
    expect(await traces(node, pod)).not.toContain('object');
    pod.publish();
    expect(await traces(node, pod)).toEqual(KUBELET_ORDER);
    await pod.delete();
  });

  test('what changes before the status is reported does not report it', async () => {
    const pod = await node.pod({ name: 'early', start: without(KUBELET_ORDER, 'status') });
    pod.update({ labels: { app: 'early' } });
    expect(pod.manifest()).toMatchObject({ metadata: { labels: { app: 'early' } }, status: { phase: 'Pending' } });
    expect(await traces(node, pod)).not.toContain('status');
    pod.publish();
    expect(await traces(node, pod)).toContain('status');
    await pod.delete();
  });

  test('an application dials with its first instruction, and says who accepted', async () => {
    const targets = [outside(), endpoint(node.remote.ip6, 80), endpoint(node.remote.ip4, 9)];
    const pod = await node.pod({ name: 'eager', app: dialsAtOnce(targets, { successes: 4 }) });
    const attempts = Attempts.of(pod.app);
    await pod.app.process.exited;
    expect(attempts.all.map(({ to }) => to).slice(0, 4)).toEqual([...targets, targets[0]]);
    expect(attempts.ways).toEqual({ mesh: 0, direct: 4, refused: 1, failed: 0 });
    expect(attempts.all[0]).toMatchObject({ ok: true, hops: [{ by: 'remote', port: 80 }] });
    expect((await attempts.until(({ ok }) => !ok)).error).toBe('ECONNREFUSED');
    expect(wayOf({ ok: true, error: '', hops: [{ by: 'ztunnel', originalDst: outside() }] })).toBe('mesh');
    await pod.delete();
  });

  test('a sandbox is made anew under the same UID, with a namespace and addresses of its own', async () => {
    const pod = await node.pod({ name: 'again', serve: [8080] });
    const { ip4, uid } = pod;
    const before = readlinkSync(pod.netns);
    await pod.remakeSandbox({ start: without(['netns', 'addresses', 'sandbox', 'app'], 'status') });
    expect([pod.uid, pod.ip4 === ip4, readlinkSync(pod.netns) === before]).toEqual([uid, false, false]);
    expect(node.kubernetes.read('Pod', { namespace: 'default', name: 'again' })).toContain(`podIP: "${ip4}"`);
    expect((await node.remote.dial(endpoint(pod.ip4, 8080))).hops[0]?.by).toBe('default/again');
    pod.publish();
    expect(pod.manifest()).toMatchObject({ status: { podIP: pod.ip4 } });
    await pod.delete();
  });

  test('its object goes while its processes live', async () => {
    const pod = await node.pod({ name: 'forced' });
    await pod.removeObject();
    expect(await traces(node, pod)).toEqual(['cgroup', 'logs', 'netns', 'addresses', 'sandbox', 'app']);
    expect((await pod.dial(outside())).ok).toBe(true);
    await pod.delete();
  });

  test('its containers end, and a process is left', async () => {
    const pod = await node.pod({ name: 'job' });
    const left = await pod.process();
    await pod.finish('Succeeded');
    expect(pod.manifest()).toMatchObject({ status: { phase: 'Succeeded', podIP: pod.ip4 } });
    expect(pod.containers.map(({ process }) => process.running)).toEqual([false, false]);
    expect((await left.dial(outside())).hops[0]?.peer).toContain(pod.ip4);
    await pod.delete();
  });

  test('a static pod has the hash of its manifest in its cgroup, and a mirror with a UID of its own', async () => {
    const pod = await node.pod({ name: 'etcd', namespace: 'kube-system', isStatic: true });
    expect(pod.uid).toMatch(/^[0-9a-f]{32}$/);
    expect(pod.cgroup.path).toContain(`/pod${pod.uid}`);
    expect(pod.manifest().metadata).toMatchObject({
      name: 'etcd-node-a',
      uid: pod.objectUid,
      annotations: { 'kubernetes.io/config.mirror': pod.uid, 'kubernetes.io/config.hash': pod.uid },
    });
    expect(pod.objectUid).not.toBe(pod.uid);
    await pod.delete();
  });

  test.each([0, 1, 20])(
    'the first process takes the Pod IPs to a namespace of its own after %i ms',
    async (afterMs) => {
      const start = without(KUBELET_ORDER, 'sandbox', 'app');
      const pod = await node.pod({ name: 'usurper', start });
      await pod.startContainer('app', usurps(pod.ips, afterMs));
      const { process } = pod.app;
      const stays = new Dialler(process);
      await process.stderrMatching(/^taken$/m);
      expect(readlinkSync(`/proc/${process.pid}/ns/net`)).not.toBe(readlinkSync(pod.netns));
      const inside = { netns: `/proc/${process.pid}/ns/net` };
      const addresses = await runToEnd(enterCommand(inside, ['ip', '-o', 'addr', 'show', 'dev', 'lo']));
      for (const ip of pod.ips) expect(addresses.join('\n')).toContain(` ${ip}/`);
      expect((await stays.dial(outside())).hops[0]?.peer).toContain(pod.ip4);
      await pod.delete();
    },
  );

  test('an address is given back last, so that a node has room for any number of pods, one after the other', async () => {
    const seen = new Set<string>();
    for (let n = 0; n < 300; n++) {
      const pod = node.plan({ name: `p${n}` });
      seen.add(pod.ip4);
      await pod.delete();
    }
    expect(seen.size).toBeGreaterThan(200);
  });
});
