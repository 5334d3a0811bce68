// The real cluster itself: what runs in it, and that nothing is left of it, however it ends.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  APPLICATION_IMAGE,
  APPLICATION_PORTS,
  applicationDeployment,
  isReady,
  LineProcess,
  RealCluster,
  requires,
  restarts,
  sweep,
  until,
  type LivePod,
} from '../src/index.js';
import { traces } from './traces.js';

const need = requires('root', 'cgroup2', 'netns', 'busybox', 'kubernetes');
const owner = fileURLToPath(new URL('real-cluster-owner.mjs', import.meta.url));

/** What the kubelet, containerd and the CNI plugins would write to if they were the machine's own. */
const FILES = [
  '/var/lib/kubelet',
  '/var/lib/containerd',
  '/var/lib/cni',
  '/var/log/pods',
  '/run/containerd',
  '/opt/cni',
  '/opt/containerd',
  '/opt/nri',
];
const SYSCTLS = ['net/ipv4/ip_forward', 'vm/overcommit_memory', 'kernel/panic', 'kernel/panic_on_oops'];

function machine(): unknown {
  const sysctls = SYSCTLS.map((name) => [name, readFileSync(join('/proc/sys', name), 'utf8')]);
  return { sysctls, files: FILES.filter((path) => existsSync(path)) };
}

describe.skipIf(need.skip)(`a real cluster${need.label}`, () => {
  const before = machine();
  let cluster: RealCluster;
  let pods: LivePod[] = [];
  beforeAll(async () => {
    cluster = await RealCluster.start();
    await cluster.kubectl.apply(applicationDeployment({ namespace: 'default', name: 'shop', replicas: 2 }));
    await cluster.rolledOut('default', 'deployment/shop');
    pods = await cluster.pods('default', 'app=shop');
  });
  afterAll(() => cluster?.close());

  test('runs pods whose TCP, HTTP and exec probes succeed', () => {
    expect(pods.map((pod) => [isReady(pod), restarts(pod)])).toEqual([
      [true, 0],
      [true, 0],
    ]);
  });

  test('its pods reach each other, and the API server under the address that the kubelet gives them', async () => {
    const [one, other] = pods;
    if (one === undefined || other === undefined) throw new Error('two pods are expected');
    const to = `${other.status.podIP}:${APPLICATION_PORTS.application}`;
    const [dialled] = await cluster.dial(one, to);
    expect(dialled).toMatchObject({ ok: true, peername: to, hops: [{ by: `default/${other.metadata.name}` }] });
    const show = ['/bin/sh', '-c', 'echo $KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT'];
    const [api = ''] = await cluster.kubectl.exec('default', one.metadata.name, show);
    expect(api).toBe(`${cluster.network.serviceIp}:443`);
    // It waits to be spoken to.
    const dial = ['/bin/peer', 'dial', '--to', api, '--timeout', '500'];
    const [answer = ''] = await cluster.kubectl.exec('default', one.metadata.name, dial);
    expect(JSON.parse(answer)).toMatchObject({ errno: 0, peername: api });
  });

  test('its pods are in its own cgroup tree, and nothing of it is attached elsewhere', () => {
    for (const { metadata } of pods) {
      const cgroup = join(cluster.cgroup.path, 'kubepods/burstable', `pod${metadata.uid}`);
      expect(existsSync(cgroup), cgroup).toBe(true);
    }
    expect(cluster.cgroup.child('kubelet').pids).toContain(cluster.node.kubelet.daemon.process.pid);
    expect(cluster.cgroup.child('kubelet').pids).toHaveLength(1);
  });

  test('reports what a pod says', async () => {
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'talks', namespace: 'default' },
      spec: {
        restartPolicy: 'Never',
        containers: [
          { name: 'a', image: APPLICATION_IMAGE, imagePullPolicy: 'Never', command: ['/bin/echo', 'hello'] },
        ],
      },
    };
    await cluster.kubectl.apply(pod);
    await until('pod talks has said hello', async () => {
      expect(await cluster.kubectl.logs('default', 'talks')).toEqual(['hello']);
    });
  });

  test('a restarted kubelet finds its pods', async () => {
    const first = cluster.node.kubelet.daemon.process.pid;
    await cluster.node.kubelet.restart();
    expect(cluster.node.kubelet.daemon.process.pid).not.toBe(first);
    await cluster.kubectl.run(['scale', 'deployment/shop', '--replicas=3']);
    await cluster.rolledOut('default', 'deployment/shop');
    const now = await cluster.pods('default', 'app=shop');
    expect(now.map(restarts)).toEqual([0, 0, 0]);
    expect(now.map(({ metadata }) => metadata.uid)).toEqual(
      expect.arrayContaining(pods.map(({ metadata }) => metadata.uid)),
    );
  });

  test('close() leaves nothing, and the machine as it was', async () => {
    expect(traces(cluster.id)).not.toEqual([]);
    await cluster.close();
    await cluster.close();
    expect(traces(cluster.id)).toEqual([]);
    expect(machine()).toEqual(before);
  });
});

describe.skipIf(need.skip)(`a real cluster whose owner ends${need.label}`, () => {
  let process: LineProcess | undefined;
  afterEach(async () => {
    process?.signal('SIGKILL');
    await process?.exited;
    sweep();
  });

  /** Starts a program that starts a cluster with a pod, prints its name, and waits. */
  async function startOwner(): Promise<{ owner: LineProcess; id: string }> {
    process = await LineProcess.start([globalThis.process.execPath, owner]);
    return { owner: process, id: await process.lineMatching(/^sluice-/) };
  }

  test('by SIGINT: nothing is left', async () => {
    const { owner, id } = await startOwner();
    expect(traces(id)).not.toEqual([]);
    owner.signal('SIGINT');
    expect((await owner.exited).signal).toBe('SIGINT');
    expect(traces(id)).toEqual([]);
  });

  test('by SIGKILL: sweep() removes what is left', async () => {
    const { owner, id } = await startOwner();
    expect(traces(id)).not.toEqual([]);
    owner.signal('SIGKILL');
    await owner.exited;
    sweep();
    await expect.poll(() => traces(id)).toEqual([]);
  });
});
