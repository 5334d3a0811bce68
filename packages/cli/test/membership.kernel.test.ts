// Who is in the mesh is what the kernel shows, whatever the Kubernetes API says, loses or swaps: the whole agent with real pods and the
// API double.
import { InstalledDatapath } from '@sluice/datapath';
import { netnsCookie } from '@sluice/linux';
import {
  Attempts,
  dialsAtOnce,
  endpoint,
  KUBELET_ORDER,
  KUBELET_PAUSES,
  moved,
  requires,
  SANDBOX_STEPS,
  usurps,
  without,
  type DialResult,
  type KubernetesCluster,
  type Pod,
  type PodSpec,
  type StandInZtunnel,
} from '@sluice/testbed';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { NodeAgent } from './node-agent.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
const ambient = { 'istio.io/dataplane-mode': 'ambient' };
const wayOf = (result: DialResult): string => (result.ok ? result.hops.map(({ by }) => by).join(' > ') : result.error);

describe.skipIf(need.skip)(`a pod in the mesh${need.label}`, () => {
  let host: NodeAgent<KubernetesCluster>;
  let ztunnel: StandInZtunnel;
  const pods: Pod[] = [];
  let count = 0;

  beforeAll(async () => {
    host = await NodeAgent.createOnApi({ metrics: { listen: '127.0.0.1:0' } });
    host.node.kubernetes.setNamespace('shop', ambient);
    host.node.kubernetes.setNamespace('plain', {});
    ztunnel = await host.node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket });
    await host.agent.start();
  });
  afterAll(() => host?.node.close());
  afterEach(async () => {
    for (const pod of pods.splice(0)) await pod.delete();
  });

  const outside4 = (): string => endpoint(host.node.remote.ip4, 80);
  const outside6 = (): string => endpoint(host.node.remote.ip6, 80);
  const dialled = async (pod: Pod): Promise<string[]> =>
    Promise.all([outside4(), outside6()].map(async (to) => wayOf(await pod.dial(to))));
  /** With the pauses of a real kubelet, and an address that it never reports. */
  const unreported = without(KUBELET_PAUSES, 'status').slice(0, -1);
  const meshed = ['ztunnel > remote', 'ztunnel > remote'];

  const make = async (spec: Omit<PodSpec, 'name'> = {}): Promise<Pod> => {
    const pod = await host.node.pod({ namespace: 'shop', name: `pod-${++count}`, ...spec });
    pods.push(pod);
    return pod;
  };
  const enrolled = async (spec: Omit<PodSpec, 'name'> = {}): Promise<Pod> => {
    const pod = await make(spec);
    await host.becomes(pod.name, 'in');
    return pod;
  };
  /** A pass has run that has seen everything that Kubernetes was told before. */
  const settled = async (): Promise<void> => {
    await host.node.kubernetes.settled();
    const marker = `marker-${++count}`;
    const paper = host.node.plan({ namespace: 'plain', name: marker });
    await paper.start(['object']);
    await host.becomes(marker, 'out');
    await paper.removeObject();
  };

  it.each([
    ['empty strings and an empty list', { 'status.podIP': '', 'status.podIPs': [] }],
    ['no fields', { 'status.podIP': undefined, 'status.podIPs': undefined }],
    ['null', { 'status.podIP': null, 'status.podIPs': null }],
    ['no status', { status: undefined }],
    ['an address that nobody has', { 'status.podIP': '10.66.0.250', 'status.podIPs': [{ ip: '10.66.0.250' }] }],
  ])('stays in it when its object reports %s instead of its addresses', async (_what, fields) => {
    const pod = await enrolled();
    pod.misreport(fields);
    await settled();
    expect(host.workload(pod.name)).toMatchObject({ state: 'in', ips: pod.ips });
    expect(await dialled(pod)).toEqual(meshed);
  });

  it('keeps its address when another object claims it, and that one is told', async () => {
    const pod = await enrolled();
    const thief = await make({ start: without(KUBELET_ORDER, 'status') });
    await host.becomes(thief.name, 'in');
    const late = await make({ start: without(KUBELET_ORDER, 'app', 'status', 'sandbox') });
    for (const one of [thief, late]) one.misreport({ 'status.podIP': pod.ip4, 'status.podIPs': [{ ip: pod.ip4 }] });
    await settled();
    await late.start(['sandbox', 'app']);
    await host.becomes(late.name, 'in');
    await settled();
    const names = [pod, thief, late].map(({ name }) => host.workload(name));
    expect(names).toMatchObject([
      { state: 'in', ips: pod.ips },
      { state: 'in', ips: thief.ips, problems: [expect.stringContaining(`pod shop/${pod.name} holds that`)] },
      { state: 'in', ips: late.ips, problems: [expect.stringContaining(`pod shop/${pod.name} holds that`)] },
    ]);
    expect(await dialled(pod)).toEqual(meshed);
    expect(await dialled(thief)).toEqual(meshed);
    expect(await dialled(late)).toEqual(meshed);
  });

  it('is served in its new namespace when its sandbox is made anew, and nothing goes directly meanwhile', async () => {
    const pod = await enrolled();
    const before = host.workload(pod.name)?.netnsCookie;
    const app = dialsAtOnce([outside4(), outside6()], { successes: 6 });
    await pod.remakeSandbox({ start: without(SANDBOX_STEPS, 'status', 'app') });
    const container = await pod.startContainer('again', app);
    await container.process.exited;
    const { direct, mesh } = Attempts.of(container).ways;
    expect({ direct, mesh }).toEqual({ direct: 0, mesh: 6 });
    const after = await host.becomes(pod.name, 'in');
    expect(after?.ips).toEqual(pod.ips);
    expect(after?.netnsCookie).not.toBe(before);
  });

  it('dials from the addresses of its namespace that the API does not list', async () => {
    const pod = await make({ start: without(KUBELET_ORDER, 'app', 'status') });
    pod.misreport({ 'status.podIP': pod.ip6, 'status.podIPs': [{ ip: pod.ip6 }] });
    await pod.start(['app', 'status']);
    await expect.poll(() => host.workload(pod.name)).toMatchObject({ state: 'in', ips: [pod.ip6, pod.ip4] });
    expect(await dialled(pod)).toEqual(meshed);
  });

  it('has no need of an address in the API, and what it dials before ztunnel has heard of it waits', async () => {
    const pod = await make({ start: without(KUBELET_ORDER, 'app', 'status') });
    await ztunnel.stop();
    await expect.poll(() => host.workload(pod.name)).toMatchObject({ state: 'pending', ips: pod.ips, inbound: 'yes' });
    const container = await pod.startContainer('app', dialsAtOnce([outside4(), outside6()], { successes: 4 }));
    await ztunnel.start();
    await container.process.exited;
    expect(Attempts.of(container).ways).toEqual({ mesh: 4, direct: 0, refused: 0, failed: 0 });
    expect((await host.becomes(pod.name, 'in'))?.ips).toEqual(pod.ips);
  });

  it('has what it dialled go directly when it is not wanted any more while that waits', async () => {
    const pod = await make();
    await host.becomes(pod.name, 'in');
    await ztunnel.stop();
    const late = await make({ start: without(KUBELET_ORDER, 'app') });
    await expect.poll(() => host.workload(late.name)).toMatchObject({ state: 'pending', inbound: 'yes' });
    const container = await late.startContainer('app', dialsAtOnce([outside4(), outside6()], { successes: 2 }));
    late.update({ labels: { 'istio.io/dataplane-mode': 'none' } });
    await container.process.exited;
    expect(Attempts.of(container).ways).toEqual({ mesh: 0, direct: 2, refused: 0, failed: 0 });
    await ztunnel.start();
    await host.becomes(pod.name, 'in');
    expect(await dialled(pod)).toEqual(meshed);
  });

  it('is refused only until the agent has seen it: when the maps have it, its namespace is prepared', async () => {
    using installed = InstalledDatapath.open(`${host.bpffs}/sluice`);
    const unprepared = (): bigint =>
      installed.counters().decisions.find(({ verdict, reason }) => verdict === 'refuse' && reason === 'unprepared')
        ?.count ?? 0n;
    const before = unprepared();
    const app = dialsAtOnce([outside4(), outside6()], { successes: 3 });
    const many = await Promise.all(Array.from({ length: 5 }, () => make({ app, start: KUBELET_ORDER })));
    for (const pod of many) {
      await pod.app.process.exited;
      expect(Attempts.of(pod.app).ways).toMatchObject({ mesh: 3, direct: 0, failed: 0 });
    }
    expect(unprepared()).toBe(before);
  });

  it('is in it with all others that start at the same time', async () => {
    const app = dialsAtOnce([outside4()], { successes: 3 });
    const many = await Promise.all(Array.from({ length: 10 }, () => make({ app, start: unreported })));
    for (const pod of many) {
      await pod.app.process.exited;
      expect(Attempts.of(pod.app).ways).toMatchObject({ mesh: 3, direct: 0, failed: 0 });
    }
  });

  it('comes and goes with the label without a failed connection, either way', async () => {
    const pod = await make({ namespace: 'plain', serve: [8080] });
    await host.becomes(pod.name, 'out');
    const out = await pod.load([outside4(), outside6()], { pauseMs: 2 });
    const back = await host.node.remote.load([endpoint(pod.ip4, 8080), endpoint(pod.ip6, 8080)], { pauseMs: 2 });
    for (let round = 0; round < 3; round += 1) {
      host.node.kubernetes.setNamespace('plain', ambient);
      await host.becomes(pod.name, 'in');
      await Promise.all([out, back].map((load) => load.progress(10)));
      expect(await dialled(pod)).toEqual(meshed);
      host.node.kubernetes.setNamespace('plain', {});
      await host.becomes(pod.name, 'out');
      await Promise.all([out, back].map((load) => load.progress(10)));
      expect(await dialled(pod)).toEqual(['remote', 'remote']);
    }
    for (const load of [out, back]) expect(await load.stop()).toMatchObject({ refused: 0, errors: 0 });
  });

  it('is announced no more and still answers peers for a while when its label is taken away', async () => {
    const pod = await enrolled({ serve: [8080] });
    const annotation = async (): Promise<string | undefined> =>
      (await host.node.kubernetes.get('Pod', { namespace: 'shop', name: pod.name }))?.metadata.annotations?.[
        'ambient.istio.io/redirection'
      ];
    await expect.poll(annotation).toBe('enabled');
    pod.update({ labels: { 'istio.io/dataplane-mode': 'none' } });
    await expect.poll(() => host.workload(pod.name)?.code).toBe('leaving');
    expect(await annotation()).toBeUndefined();
    expect(host.workload(pod.name)).toMatchObject({
      state: 'in',
      reason: 'leaving: pod label istio.io/dataplane-mode=none',
    });
    await host.becomes(pod.name, 'out');
    expect(await dialled(pod)).toEqual(['remote', 'remote']);
  });

  it('is not a static pod, which is told so', async () => {
    const pod = await make({ isStatic: true });
    const status = await host.becomes(pod.name, 'out');
    expect(status).toMatchObject({
      code: 'static-pod',
      problems: [expect.stringMatching(/no certificate/)],
    });
    // Another object that claims to be its mirror changes nothing for it, nor for a pod that runs.
    const claims = { 'kubernetes.io/config.hash': pod.uid, 'kubernetes.io/config.mirror': pod.uid };
    const thief = await enrolled({ annotations: claims });
    await settled();
    expect(await dialled(thief)).toEqual(meshed);
    expect(await dialled(pod)).toEqual(['remote', 'remote']);
    expect(host.workload(pod.name)).toMatchObject({ state: 'out' });
  });

  it.each(['Succeeded', 'Failed'] as const)(
    'stays in it when its containers have ended (%s) and a process is left',
    async (phase) => {
      const pod = await enrolled();
      const left = await pod.process();
      await pod.finish(phase);
      await settled();
      expect(host.workload(pod.name)).toMatchObject({ state: 'in' });
      expect(wayOf(await left.dial(outside4()))).toBe('ztunnel > remote');
    },
  );

  it('stays in it when its object is deleted without grace, also for the next agent, until its cgroup is gone', async () => {
    const pod = await enrolled();
    await pod.removeObject();
    await settled();
    expect(host.workload(pod.name)).toMatchObject({ state: 'in' });
    expect(await dialled(pod)).toEqual(meshed);
    await host.agent.kill9();
    await host.agent.start();
    expect(host.workload(pod.name)).toMatchObject({ state: 'in' });
    expect(await dialled(pod)).toEqual(meshed);
    await pod.delete();
    await expect.poll(() => host.workload(pod.name)).toBeUndefined();
  });

  it.each([0, 1, 20, 1000])(
    'keeps its first namespace when its first process takes its addresses to one of its own after %i ms',
    async (afterMs) => {
      const plan = host.node.plan({
        namespace: 'shop',
        name: `pod-${++count}`,
        start: without(KUBELET_ORDER, 'sandbox'),
      });
      pods.push(plan);
      await plan.start(['object', 'cgroup', 'logs', 'netns', 'addresses']);
      const container = await plan.startContainer('app', usurps(plan.ips, afterMs));
      await container.process.stderrMatching(/^taken$/m);
      await settled();
      const status = host.workload(plan.name);
      expect(['in', 'pending']).toContain(status?.state);
      expect([undefined, String(netnsCookie(plan.netns))]).toContain(status?.netnsCookie);
    },
  );

  it('is known late: an object that comes after the pod puts it into the mesh', async () => {
    const app = dialsAtOnce([outside4()], { pauseMs: 5 });
    const pod = await make({ app, start: moved(KUBELET_ORDER, 'object', { after: 'app' }) });
    await Attempts.of(pod.app).until(({ hops }) => hops[0]?.by === 'ztunnel');
    await host.becomes(pod.name, 'in');
  });

  it('follows its addresses as they change', async () => {
    const pod = await enrolled();
    await pod.addAddress('10.66.0.201');
    await pod.removeAddress(pod.ip4);
    await expect.poll(() => host.workload(pod.name)?.ips).toEqual([pod.ip6, '10.66.0.201']);
    await host.becomes(pod.name, 'in');
    // Its routes of IPv4 have gone with the address.
    expect(wayOf(await pod.dial(outside6()))).toBe('ztunnel > remote');
  });

  it('is counted by its state and the reason for it', async () => {
    const pod = await enrolled();
    await ztunnel.stop();
    const waits = await make();
    await host.becomes(waits.name, 'pending');
    const { body } = await host.get('/metrics');
    expect(body).toMatch(
      /sluice_pods\{reason="selected",state="in"\} [1-9]|sluice_pods\{state="in",reason="selected"\} [1-9]/,
    );
    expect(body).toMatch(/sluice_oldest_mismatch_seconds \d/);
    expect(host.workload(pod.name)?.state).toBe('in');
    await ztunnel.start();
    await host.becomes(waits.name, 'in');
  });
});
