// A busy node: pods start, end and are relabelled faster than the agent can follow. When everything is quiet, the kernel must hold
// what the enrolment computes from what exists, and a pod that stayed must have been in the mesh all along.
import { randomBytes, randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  discoverZtunnels,
  enrol,
  heldAddress,
  loadConfig,
  ManifestDirectory,
  type AgentConfig,
  type Enrolment,
  type Workload,
} from '@sluice/ambient-agent';
import { CgroupResolver } from '@sluice/cgroup-resolver';
import { InstalledDatapath, type DesiredMaps } from '@sluice/datapath';
import { netnsCookie } from '@sluice/linux';
import { endpoint, requires, type Pod } from '@sluice/testbed';
import * as Effect from 'effect/Effect';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NodeAgent } from './node-agent.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
const ambient = { 'istio.io/dataplane-mode': 'ambient' };
const POD_COUNT = 100;
const KILLS = 6;

/** A pod without processes: its cgroups and its manifest, either of which may be missing. */
class PaperPod {
  readonly uid = randomUUID();
  readonly #directories: readonly string[];
  readonly #manifest: (labels: Record<string, string>) => Record<string, unknown>;
  readonly #host: NodeAgent;
  readonly #file: string;

  constructor(host: NodeAgent, index: number, ip: string) {
    const place = join(host.node.cgroup.path, `kubepods/besteffort/pod${this.uid}`);
    this.#directories = [place, join(place, randomBytes(32).toString('hex'))];
    this.#host = host;
    this.#file = `pod.paper.p${index}-${this.uid}.yaml`;
    this.#manifest = (labels) => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: `p${index}`, namespace: 'paper', uid: this.uid, labels },
      spec: { nodeName: host.node.name },
      status: { phase: 'Running', podIP: ip, startTime: new Date(1_700_000_000_000 + index * 1000).toISOString() },
    });
  }

  makeCgroups(): void {
    for (const directory of this.#directories) mkdirSync(directory, { recursive: true });
  }

  removeCgroups(): void {
    for (const directory of this.#directories.toReversed()) if (existsSync(directory)) rmdirSync(directory);
  }

  publish(labels: Record<string, string> = {}): void {
    this.#host.node.kubernetes.writeText(this.#file, JSON.stringify(this.#manifest(labels)));
  }

  /** What runs stays known without its object, if the agent has seen both together. */
  withdraw(): void {
    this.removeCgroups();
    rmSync(join(this.#host.node.kubernetes.path, this.#file));
  }
}

/** What the maps ought to hold, computed from the manifests and the cgroup tree. */
function wanted(host: NodeAgent, config: AgentConfig): DesiredMaps {
  const directory = new ManifestDirectory(host.node.kubernetes.path);
  directory.scan();
  const { inventory } = directory.snapshot;
  const resolver = new CgroupResolver({ cgroupRoot: host.node.cgroup.path, hostNetns: host.node.netns.path });
  const ztunnels = discoverZtunnels(inventory, config);
  const pods = resolver.pods();
  const hostNetnsCookie = netnsCookie(host.node.netns.path);
  const attempt = (isIn: (uid: string) => boolean): Enrolment => {
    const workloads = new Map<string, Workload>();
    for (const pod of pods) {
      const ips = inventory.pods.get(pod.podUid)?.ips ?? [];
      const netns = isIn(pod.podUid) && ips.length > 0 ? resolver.podNetns(pod) : undefined;
      workloads.set(pod.podUid, { pod, netns });
    }
    const addresses = new Map(
      [...workloads.values()].flatMap(({ netns }) =>
        netns === undefined ? [] : [[netns.cookie, netns.addresses.map(heldAddress)] as const],
      ),
    );
    return enrol({ inventory, workloads, ztunnels, kubelets: [], hostNetnsCookie, config, addresses });
  };
  const first = attempt(() => false);
  const inMesh = new Set(first.statuses.filter(({ state }) => state === 'in').map(({ uid }) => uid));
  return attempt((uid) => inMesh.has(uid)).desired;
}

const comparable = ({ rules, ...maps }: DesiredMaps): unknown => ({
  ...maps,
  rules: rules.map((rule) => JSON.stringify(rule, (_, value: unknown) => String(value))).sort(),
});

describe.skipIf(need.skip)(`a busy node${need.label}`, () => {
  let host: NodeAgent;
  let config: AgentConfig;
  let steady: Pod;
  beforeAll(async () => {
    host = await NodeAgent.create();
    host.node.kubernetes.setNamespace('shop', ambient);
    host.node.kubernetes.setNamespace('paper', ambient);
    await host.node.ztunnel();
    steady = await host.node.pod({ namespace: 'shop', name: 'steady' });
    await host.agent.start();
    config = await Effect.runPromise(loadConfig(host.configPath));
  });
  afterAll(() => host?.node.close());

  const present = (): DesiredMaps => {
    using installed = InstalledDatapath.open(join(host.bpffs, 'sluice'));
    return installed.read();
  };
  const settled = (): Promise<void> =>
    expect.poll(() => comparable(present())).toEqual(comparable(wanted(host, config)));

  it('holds what exists after pods started, ended and changed, and never drops one that stays', async () => {
    const load = await steady.load([endpoint(host.node.remote.ip4, 80), endpoint(host.node.remote.ip6, 80)]);
    const pods = Array.from({ length: POD_COUNT }, (_, index) => new PaperPod(host, index, `10.66.1.${index % 40}`));
    const real: Pod[] = [];
    for (const [index, pod] of pods.entries()) {
      if (index % 2 === 0) pod.makeCgroups();
      pod.publish();
      if (index % 2 === 1) pod.makeCgroups();
      const earlier = pods[index - 10];
      if (index % 3 === 0) earlier?.publish({ 'istio.io/dataplane-mode': 'none' });
      if (index % 4 === 0) earlier?.removeCgroups();
      if (index % 5 === 0) earlier?.withdraw();
      if (index % 25 === 0) real.push(await host.node.pod({ namespace: 'shop', name: `real-${index}` }));
      if (index % 50 === 30) await real.shift()?.delete();
      if (index % 20 === 0) host.node.kubernetes.setNamespace('paper', index % 40 === 20 ? {} : ambient);
    }
    await settled();
    const { cgroups } = present();
    expect(cgroups.size).toBeGreaterThan(POD_COUNT / 2);
    await load.progress(2);
    expect(await load.stop()).toMatchObject({ refused: 0, direct: 0, errors: 0 });
  });

  it('starts properly after it was killed again and again while it started', async () => {
    const load = await steady.load([endpoint(host.node.remote.ip4, 80), endpoint(host.node.remote.ip6, 80)]);
    await host.agent.kill9();
    const began = performance.now();
    await host.agent.start();
    const startMs = performance.now() - began;
    await host.agent.kill9();
    // The kills are spread over the second half of a start; in the first half the agent only loads its modules.
    for (let round = 1; round <= KILLS; round++) {
      const isReady = host.agent.start().catch(() => 'killed');
      await sleep(startMs * (0.5 + round / (2 * KILLS)));
      await host.agent.kill9();
      await isReady;
    }
    await host.agent.start();
    await settled();
    expect(host.status()).toMatchObject({ agent: 'running', isEnforced: true });
    await load.progress(2);
    expect(await load.stop()).toMatchObject({ refused: 0, direct: 0, errors: 0 });
  });
});
