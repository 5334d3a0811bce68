// Pods, cgroups and a configuration for the tests of pure code. What a test leaves out has ordinary values.
import type { PodCgroup } from '@sluice/cgroup-resolver';
import * as Result from 'effect/Result';
import {
  discoverZtunnels,
  enrol,
  heldAddress,
  resolveConfig,
  type AgentConfig,
  type CaptureFacts,
  type Enrolment,
  type InPodFacts,
  type Inventory,
  type KubeletCgroup,
  type Namespace,
  type Pod,
  type Workload,
} from '../src/index.js';

export const NODE = 'node-1';

export function config(tree: Record<string, unknown> = {}): AgentConfig {
  return Result.getOrThrow(resolveConfig({ mode: 'node', nodeName: NODE, ...tree }, 'test'));
}

export function pod(uid: string, over: Partial<Pod> = {}): Pod {
  return {
    uid,
    name: uid,
    namespace: 'shop',
    labels: {},
    annotations: {},
    isDeleting: false,
    nodeName: NODE,
    hostNetwork: false,
    serviceAccount: 'default',
    networkAdmins: [],
    phase: 'Running',
    ips: [],
    badIps: [],
    isReady: true,
    bornMs: 0,
    ...over,
  };
}

export const ztunnelPod = (over: Partial<Pod> = {}): Pod =>
  pod('zt', {
    namespace: 'istio-system',
    serviceAccount: 'ztunnel',
    labels: { app: 'ztunnel' },
    ips: ['10.0.0.9', 'fd00::9'],
    ...over,
  });

export const namespaces: readonly Namespace[] = [
  { name: 'shop', labels: { 'istio.io/dataplane-mode': 'ambient' } },
  { name: 'plain', labels: {} },
  { name: 'istio-system', labels: {} },
  { name: 'kube-system', labels: { 'istio.io/dataplane-mode': 'ambient' } },
];

export function inventory(pods: readonly Pod[], spaces: readonly Namespace[] = namespaces): Inventory {
  return {
    pods: new Map(pods.map((one) => [one.uid, one])),
    namespaces: new Map(spaces.map((one) => [one.name, one])),
  };
}

/** Cgroup ids are `base`, `base + 1` for the one container, and `base + 2` for a cgroup nested in it. */
export function workload(uid: string, base: bigint, cookie?: bigint): Workload {
  const cgroupPath = `/cg/kubepods/besteffort/pod${uid}`;
  const podCgroup: PodCgroup = {
    podUid: uid,
    qosClass: 'besteffort',
    cgroupPath,
    cgroupId: base,
    level: 3,
    containers: [{ id: 'c1', runtime: 'containerd', cgroupPath: `${cgroupPath}/c1`, cgroupId: base + 1n, level: 4 }],
    otherCgroups: [{ cgroupPath: `${cgroupPath}/c1/nested`, cgroupId: base + 2n }],
  };
  const netns =
    cookie === undefined
      ? undefined
      : {
          inode: cookie + 5000n,
          cookie,
          pid: 1,
          path: '/proc/1/ns/net',
          addresses: ['10.0.0.2'],
          owner: 'host' as const,
        };
  return { pod: podCgroup, netns };
}

export const HOST_COOKIE = 1n;

export interface World {
  readonly pods: readonly Pod[];
  readonly workloads?: readonly Workload[];
  readonly namespaces?: readonly Namespace[];
  readonly kubelets?: readonly KubeletCgroup[];
  readonly config?: AgentConfig;
  readonly served?: Partial<InPodFacts>;
  readonly capture?: CaptureFacts;
  /** What network namespaces hold. Without an entry, that is what the API reports of the pod that shows it. */
  readonly addresses?: ReadonlyMap<bigint, readonly string[]>;
}

/** What is not said of `inPod` mode is as it is for a pod that is in the mesh. */
export const facts = (over: Partial<InPodFacts> = {}): InPodFacts => ({
  acknowledged: new Map(),
  refusals: new Map(),
  remembered: new Map(),
  isConnected: true,
  attached: new Set(Array.from({ length: 4096 }, (_, cookie) => BigInt(cookie))),
  notInForce: new Map(),
  leaving: new Set(),
  entering: new Set(),
  ...over,
});

export function enrolWorld(world: World): Enrolment {
  const known = inventory(world.pods, world.namespaces);
  const settings = world.config ?? config();
  const workloads = world.workloads ?? [];
  const reported = new Map<bigint, readonly string[]>();
  for (const {
    pod: { podUid },
    netns,
  } of workloads) {
    const cookie = netns?.cookie ?? world.served?.remembered?.get(podUid);
    if (cookie === undefined) continue;
    const all = new Set([...(reported.get(cookie) ?? []), ...(known.pods.get(podUid)?.ips ?? [])]);
    reported.set(cookie, [...all].sort());
  }
  return enrol({
    inventory: known,
    workloads: new Map(workloads.map((one) => [one.pod.podUid, one])),
    ztunnels: discoverZtunnels(known, settings),
    kubelets: world.kubelets ?? [],
    hostNetnsCookie: HOST_COOKIE,
    config: settings,
    addresses: new Map(
      [...reported, ...(world.addresses ?? [])].map(([cookie, all]) => [cookie, all.map(heldAddress)]),
    ),
    ...(world.served === undefined ? {} : { served: facts(world.served) }),
    ...(world.capture === undefined ? {} : { capture: world.capture }),
  });
}
