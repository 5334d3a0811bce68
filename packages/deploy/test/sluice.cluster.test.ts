// Sluice in a real cluster, installed by Helm and run by a kubelet, and everything that happens to pods, nodes and agents. After
// each step every connection of every pod has to go where the decision table sends it (cluster/applications.ts).
import { readdirSync, readFileSync } from 'node:fs';
import {
  applicationDeployment,
  LiveObject,
  namespaceObject,
  RealCluster,
  requires,
  restarts,
  until,
  ZTUNNEL_PORTS,
  ztunnelDaemonSet,
  type DialResult,
  type LivePod,
} from '@sluice/testbed';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Applications, MODE } from './cluster/applications.js';
import { earlyDeployment } from './cluster/early.js';
import { podNetnsState } from './cluster/pod-netns.js';
import { tellWhatWasSaid } from './cluster/last-words.js';
import { NAMESPACE, Release } from './cluster/release.js';
import { addressOf, wayOf } from './cluster/way.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector', 'busybox', 'kubernetes');

/** Bit numbers of include/uapi/linux/capability.h, as the chart names them. */
const CAPABILITIES = { NET_ADMIN: 12n, NET_RAW: 13n, SYS_PTRACE: 19n, SYS_ADMIN: 21n };

describe.skipIf(need.skip)(`Sluice in a real cluster${need.label}`, () => {
  let cluster: RealCluster;
  let applications: Applications;
  let release: Release;

  beforeAll(async () => {
    const image = process.env['SLUICE_IMAGE_ARCHIVE'];
    if (image === undefined) throw new Error('SLUICE_IMAGE_ARCHIVE names no image; run `npm run test:cluster`');
    cluster = await RealCluster.start({ images: [image] });
    applications = new Applications(cluster, ['shop', 'office']);
    release = new Release(cluster);
    await cluster.kubectl.apply(
      namespaceObject(NAMESPACE, {}),
      namespaceObject('shop', { [MODE]: 'ambient' }),
      namespaceObject('office', {}),
      ...ztunnelDaemonSet(),
      applicationDeployment({ namespace: 'shop', name: 'cart', replicas: 2 }),
      applicationDeployment({ namespace: 'shop', name: 'recluse', labels: { [MODE]: 'none' } }),
      applicationDeployment({ namespace: 'office', name: 'desk', replicas: 2 }),
      applicationDeployment({ namespace: 'office', name: 'volunteer', labels: { [MODE]: 'ambient' } }),
    );
    await cluster.rolledOut(NAMESPACE, 'daemonset/ztunnel');
  });
  afterEach(async ({ task }) => {
    if (task.result?.state === 'fail') await tellWhatWasSaid(cluster);
  });
  afterAll(() => cluster?.close());

  const agents = (): Promise<LivePod[]> => cluster.pods(NAMESPACE, 'app.kubernetes.io/name=sluice');
  const agent = async (): Promise<LivePod> => {
    const [pod, ...others] = await agents();
    if (pod === undefined || others.length > 0) throw new Error(`${1 + others.length} agents are there, and not one`);
    return pod;
  };
  const uids = async (): Promise<string[]> => (await applications.pods()).map(({ metadata }) => metadata.uid);
  const label = (namespace: string, mode: string): Promise<unknown> =>
    cluster.kubectl.run(['label', 'namespace', namespace, '--overwrite', mode === '' ? `${MODE}-` : `${MODE}=${mode}`]);
  const run = (...args: string[]): Promise<string[]> => cluster.kubectl.run(args);

  /** A pod in the mesh dials without a pause while something is done: no dial may fail, and none may bypass ztunnel. */
  async function underLoad(action: () => Promise<void>): Promise<void> {
    const [caller, neighbour] = await applications.podsOf('shop', 'cart');
    const [outsider] = await applications.podsOf('shop', 'recluse');
    if (caller === undefined || neighbour === undefined || outsider === undefined) throw new Error('a pod is missing');
    const load = await cluster.load(caller, [addressOf(neighbour), addressOf(outsider)], { pauseMs: 2 });
    await action();
    const { attempts, redirected, ...rest } = await load.stop();
    expect(rest).toEqual({ refused: 0, direct: 0, errors: 0, firstErrors: [] });
    expect(redirected).toBe(attempts);
    expect(redirected).toBeGreaterThan(0);
  }

  test('without Sluice every connection is direct', async () => {
    await applications.check(false);
  });

  test('helm install: pods that already run join without a restart', async () => {
    const before = await uids();
    await release.install();
    await cluster.rolledOut(NAMESPACE, 'daemonset/sluice-node');
    await applications.check(true);
    expect(await uids()).toEqual(before);
  });

  test('the agent has the rights that the chart names, and no others', async () => {
    const pod = await agent();
    const status = readFileSync(`/proc/${cluster.podProcess(pod)}/status`, 'utf8');
    const field = (name: string): string => new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(status)?.[1] ?? '';
    const wanted = Object.values(CAPABILITIES).reduce((set, bit) => set | (1n << bit), 0n);
    for (const set of ['CapPrm', 'CapEff', 'CapBnd']) expect(BigInt(`0x${field(set)}`)).toBe(wanted);
    // SECCOMP_MODE_FILTER: the runtime's default profile.
    expect({ noNewPrivileges: field('NoNewPrivs'), seccomp: field('Seccomp') }).toEqual({
      noNewPrivileges: '1',
      seccomp: '2',
    });

    const may = async (verb: string, what: string, ...args: string[]): Promise<string> => {
      const as = `--as=system:serviceaccount:${NAMESPACE}:sluice`;
      // The command exits with 1 if the answer is no.
      return (await run('auth', 'can-i', verb, what, as, ...args).catch(() => ['no']))[0] ?? '';
    };
    expect(await may('patch', 'pods', '--subresource=status', '-A')).toBe('yes');
    expect(await may('get', 'daemonsets/sluice-node', '-n', NAMESPACE)).toBe('yes');
    for (const [verb, what] of [
      ['patch', 'pods'],
      ['delete', 'pods'],
      ['create', 'pods'],
      ['get', 'secrets'],
      ['delete', 'daemonsets/sluice-node'],
      ['patch', 'namespaces'],
    ] as const)
      expect([verb, what, await may(verb, what, '-n', NAMESPACE)]).toEqual([verb, what, 'no']);
  });

  test('a namespace is labelled', async () => {
    await label('office', 'ambient');
    await applications.check(true);
  });

  test('a namespace loses its label, and gets it again', async () => {
    await label('shop', '');
    await applications.check(true);
    await label('shop', 'ambient');
    await applications.check(true);
  });

  test('a Deployment is scaled up and down', async () => {
    await run('scale', '-n', 'shop', 'deployment/cart', '--replicas=4');
    await cluster.rolledOut('shop', 'deployment/cart');
    await applications.check(true);
    await run('scale', '-n', 'shop', 'deployment/cart', '--replicas=2');
    await cluster.rolledOut('shop', 'deployment/cart');
    await applications.check(true);
  });

  test('a Deployment is restarted pod by pod', async () => {
    const before = await applications.podsOf('office', 'desk');
    await run('rollout', 'restart', '-n', 'office', 'deployment/desk');
    await cluster.rolledOut('office', 'deployment/desk');
    await applications.check(true);
    const after = (await applications.podsOf('office', 'desk')).map(({ metadata }) => metadata.uid);
    for (const { metadata } of before) expect(after).not.toContain(metadata.uid);
  });

  test('pods that dial as soon as they start are refused and then served, and never bypass ztunnel', async () => {
    const [target] = await applications.podsOf('office', 'desk');
    if (target === undefined) throw new Error('a pod is missing');
    await cluster.kubectl.apply(
      namespaceObject('dawn', { [MODE]: 'ambient' }),
      earlyDeployment('dawn', addressOf(target)),
    );
    await cluster.rolledOut('dawn', 'deployment/early');
    for (const { metadata } of await cluster.pods('dawn')) {
      const ways = await until(`${metadata.name} has been served`, async () => {
        const log = await cluster.kubectl.logs('dawn', metadata.name);
        expect(log.at(-1)).toBe('served');
        return log.slice(0, -1).map((line) => wayOf(JSON.parse(line) as DialResult)[0] ?? 'nobody');
      });
      const accepted = ways.filter((way) => !way.startsWith('ECONNREFUSED'));
      expect(accepted).toEqual([expect.stringContaining(`ztunnel accepts at ${ZTUNNEL_PORTS.outbound}`)]);
    }
    await run('delete', 'deployment', '-n', 'dawn', 'early');
    await applications.check(true);
  });

  test('a pod is deleted, and another one takes its place', async () => {
    const [pod] = await applications.podsOf('shop', 'cart');
    await run('delete', 'pod', '-n', 'shop', pod?.metadata.name ?? '');
    await cluster.rolledOut('shop', 'deployment/cart');
    await applications.check(true);
  });

  test('the agents are replaced, under load', async () => {
    const before = await agent();
    await underLoad(async () => {
      await run('rollout', 'restart', '-n', NAMESPACE, 'daemonset/sluice-node');
      await cluster.rolledOut(NAMESPACE, 'daemonset/sluice-node');
    });
    await applications.check(true);
    expect((await agent()).metadata.uid).not.toBe(before.metadata.uid);
  });

  test('the agent is killed, under load, and the kubelet starts it again', async () => {
    const { metadata } = await agent();
    await underLoad(async () => {
      process.kill(cluster.podProcess(await agent()), 'SIGKILL');
      await until('the kubelet has started the agent again', async () => {
        const pod = await agent();
        expect([pod.metadata.uid, restarts(pod)]).toEqual([metadata.uid, 1]);
      });
      await cluster.rolledOut(NAMESPACE, 'daemonset/sluice-node');
    });
    await applications.check(true);
  });

  test('helm upgrade rolls the agents if their configuration changes, under load', async () => {
    const before = await agent();
    await underLoad(async () => {
      await release.upgrade({ 'log.level': 'debug' });
      await cluster.rolledOut(NAMESPACE, 'daemonset/sluice-node');
    });
    await applications.check(true);
    expect((await agent()).metadata.uid).not.toBe(before.metadata.uid);
  });

  test('ztunnel is replaced', async () => {
    // This DaemonSet ends the old pod before it starts the new one. On a busy machine that takes so long that
    // the agent sends Events to the owners of pods.
    applications.excuse(/ztunnel does not listen for it|no ztunnel is connected/);
    await run('rollout', 'restart', '-n', NAMESPACE, 'daemonset/ztunnel');
    await cluster.rolledOut(NAMESPACE, 'daemonset/ztunnel');
    await applications.check(true);
  });

  test('the kubelet is restarted', async () => {
    await cluster.node.kubelet.restart();
    await run('scale', '-n', 'office', 'deployment/desk', '--replicas=3');
    await cluster.rolledOut('office', 'deployment/desk');
    await applications.check(true);
  });

  test('the API server is restarted, and changed labels are followed when it is back', async () => {
    await cluster.controlPlane.stopApi();
    await cluster.controlPlane.startApi();
    await label('office', '');
    await applications.check(true);
    await label('office', 'ambient');
    await applications.check(true);
  });

  test('helm uninstall leaves nothing', async () => {
    const before = await uids();
    await release.uninstall();
    await applications.check(false);
    expect(await uids()).toEqual(before);

    const { mounts } = cluster.node;
    // The kernel itself puts *.debug into it.
    const pins = readdirSync(mounts.path('/sys/fs/bpf')).filter((name) => !name.endsWith('.debug'));
    const files = ['/run/sluice', '/run/ztunnel'].flatMap((path) => readdirSync(mounts.path(path)));
    expect({ pins, files }).toEqual({ pins: [], files: [] });
    const kinds =
      'daemonsets,jobs,pods,serviceaccounts,configmaps,secrets,roles,rolebindings,clusterroles,clusterrolebindings';
    const objects = await cluster.kubectl.list(LiveObject, kinds, ['-A', '-l', 'app.kubernetes.io/name=sluice']);
    expect(objects.map(({ kind, metadata }) => `${kind}/${metadata.name}`)).toEqual([]);

    const pods = await applications.pods();
    const states = await Promise.all(pods.map((pod) => podNetnsState(cluster.podProcess(pod))));
    // This pod was never in the mesh.
    const untouched = states[pods.findIndex(({ metadata }) => metadata.labels?.[MODE] === 'none')];
    expect(untouched).toBeDefined();
    for (const [i, state] of states.entries()) expect(state, pods[i]?.metadata.name).toEqual(untouched);
  });

  test('Sluice can be installed again', async () => {
    await release.install();
    await cluster.rolledOut(NAMESPACE, 'daemonset/sluice-node');
    await applications.check(true);
  });
});
