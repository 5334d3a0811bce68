// ztunnel's socket options, read from duplicates of its sockets, with the stand-in ztunnel and the real ZDS server.
import { join } from 'node:path';
import { Netns, netnsCookie } from '@sluice/linux';
import { requires, TestNode, type Pod } from '@sluice/testbed';
import { ZdsServer } from '@sluice/zds';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { seeListener } from '../src/reconcile/listener-sights.js';

const need = requires('root', 'cgroup2', 'netns');

describe.skipIf(need.skip)(`ztunnel’s listener${need.label}`, () => {
  let node: TestNode;
  let pod: Pod;
  let cookie: bigint;
  beforeAll(async () => {
    node = await TestNode.create({ remotePorts: [], remoteDns: false });
    pod = await node.pod({ namespace: 'shop', name: 'a', serve: [8080] });
    cookie = netnsCookie(pod.netns);
  });
  afterAll(() => node?.close());

  it.each([
    [true, 'transparent'],
    [false, 'not-transparent'],
  ] as const)('is transparent with ENABLE_ORIG_SRC=%s: %s', async (originalSource, sight) => {
    const zdsSocket = join(node.directory, `${sight}.sock`);
    using netns = Netns.open(pod.netns);
    const { uid, name, namespace } = pod;
    const workload = { uid, name, namespace, serviceAccount: 'default', netns };
    const { server } = ZdsServer.listen({
      path: zdsSocket,
      workloads: [workload],
      authorize: () => Promise.resolve(true),
    });
    try {
      const ztunnel = await node.ztunnel({ mode: 'inPod', zdsSocket, name: sight, originalSource, drainMs: 0 });
      await expect.poll(() => server.status(uid)?.state).toBe('acked');
      const { pid } = ztunnel.process;
      expect(seeListener(pid, new Set([cookie]))).toBe(sight);
      expect(seeListener(pid, new Set([1n]))).toEqual({ unseen: `process ${pid} does not listen there` });
      await ztunnel.stop();
      expect(seeListener(pid, new Set([cookie]))).toEqual({ unseen: expect.stringContaining('ESRCH') });
    } finally {
      await server.close();
    }
  });
});
