// Real containers by runc, in the view of a pure cgroup2 machine.
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Cgroup, endpoint, requires, TestNode, type Pod } from '../src/index.js';

const need = requires('root', 'cgroup2', 'netns', 'runc', 'busybox');

describe.skipIf(need.skip)(`pods of real containers${need.label}`, () => {
  let node: TestNode;
  let pod: Pod;

  beforeAll(async () => {
    node = await TestNode.create();
    pod = await node.pod({ namespace: 'shop', name: 'real', runtime: 'runc', serve: [80] });
  });
  afterAll(() => node?.close());

  test('dial and serve like any other pod', async () => {
    for (const method of ['plain', 'fastopen', 'iouring', 'mptcp'] as const) {
      expect(await pod.dial(endpoint(node.remote.ip6, 80), { method })).toMatchObject({
        ok: true,
        hops: [{ by: 'remote' }],
      });
    }
    expect((await pod.dial('127.0.0.1:80')).hops[0]?.by).toBe('shop/real');
    const kubelet = await node.kubelet();
    expect((await kubelet.dial(endpoint(pod.ip6, 80))).hops[0]?.by).toBe('shop/real');
  });

  test('a container that starts later dials with its first instruction', async () => {
    const late = await pod.startContainer('late', ['dial', '--to', endpoint(node.remote.ip4, 443)]);
    expect(JSON.parse(await late.process.nextLine())).toMatchObject({ ok: true, hops: [{ by: 'remote', port: 443 }] });
    expect((await late.process.exited).code).toBe(0);
  });

  test('its processes are in the pod cgroup, in namespaces of their own', async () => {
    const { pids } = new Cgroup(pod.app.place.cgroup);
    expect(pids.length).toBeGreaterThanOrEqual(2);
    for (const pid of pids) {
      const cgroup = await readFile(`/proc/${pid}/cgroup`, 'utf8');
      expect(cgroup).toContain(`/kubepods/besteffort/pod${pod.uid}/${pod.app.id}`);
      expect(await readFile(`/proc/${pid}/status`, 'utf8')).toMatch(/^NSpid:\t\d+\t\d+$/m);
    }
  });

  test('a load from inside ends with its summary', async () => {
    const load = await pod.load([endpoint(node.remote.ip4, 80)]);
    await load.progress(1);
    expect(await load.stop()).toMatchObject({ refused: 0, errors: 0 });
  });

  test('a deleted pod is gone', async () => {
    const other = await node.pod({ name: 'brief', runtime: 'runc' });
    await other.delete();
    await expect(readFile(`${other.cgroup.path}/cgroup.procs`)).rejects.toThrow('ENOENT');
  });
});
