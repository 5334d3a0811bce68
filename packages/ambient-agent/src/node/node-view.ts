// What the node shows at this moment: the cgroups and network namespaces of pods, and where the kubelet is.
import type { CgroupResolver, LendNetns, NetnsRef } from '@sluice/cgroup-resolver';
import { netnsCookie } from '@sluice/linux';
import type { AgentConfig } from '../config/config.js';
import { cgroupUid, localPodsOf, type KubeletCgroup, type Workload } from '../enrolment/enrol.js';
import { membership } from '../enrolment/membership.js';
import type { Ztunnels } from '../enrolment/ztunnel.js';
import type { Inventory } from '../inventory/model.js';
import type { ChangedNetns } from '../pod-netns/memory.js';
import { messageOf } from '../failure/message-of.js';
import { KubeletFinder } from './kubelet.js';

export interface NodeTruth {
  readonly workloads: ReadonlyMap<string, Workload>;
  readonly kubelets: readonly KubeletCgroup[];
  readonly hostNetnsCookie: bigint;
  readonly problems: readonly string[];
}

const levelUnknown =
  'how deep the mounted cgroup tree lies cannot be told, so that containers may be looked for at the wrong depth; mount the whole tree of the host, or run in its pid and cgroup namespaces';

/** Synchronous: it reads cgroupfs and /proc, which do not wait for a disk. */
export class NodeView {
  readonly resolver: CgroupResolver;
  readonly kubeletFinder: KubeletFinder;
  readonly #config: AgentConfig;

  constructor(resolver: CgroupResolver, config: AgentConfig) {
    this.resolver = resolver;
    this.#config = config;
    const { names, cgroup } = config.kubelet;
    this.kubeletFinder = new KubeletFinder(resolver, { procPath: config.paths.proc, names, cgroup });
  }

  /**
   * Only of pods that are wanted in the mesh is the network namespace looked for.
   * @param isThorough also look for kubelets anew
   * @param lend of the owner of the pods' namespaces
   * @throws CgroupError, SystemCallError when the tree or the host's namespace cannot be read
   */
  read(inventory: Inventory, ztunnels: Ztunnels, isThorough: boolean, lend: LendNetns): NodeTruth {
    const ztunnelUids = new Set(ztunnels.pods.map(({ uid }) => uid));
    const wantedIps = new Map<string, readonly string[]>();
    for (const pod of localPodsOf(inventory, this.#config.nodeName)) {
      if (membership(pod, inventory, ztunnelUids, this.#config).isWanted && !wantedIps.has(cgroupUid(pod)))
        wantedIps.set(cgroupUid(pod), pod.ips);
    }
    const problems: string[] = this.resolver.hierarchy.levelKnown ? [] : [levelUnknown];
    const workloads = new Map<string, Workload>();
    for (const pod of this.resolver.pods()) {
      const ips = wantedIps.get(pod.podUid);
      let netns: Workload['netns'];
      // A namespace is the pod's only if it holds one of the pod's addresses: without any, none can be told to be.
      if (ips !== undefined && ips.length > 0) {
        try {
          netns = this.resolver.podNetns(pod, ips, lend);
        } catch (error) {
          problems.push(`the network namespace of pod ${pod.podUid} cannot be read: ${messageOf(error)}`);
        }
      }
      workloads.set(pod.podUid, { pod, netns });
    }
    const search = this.kubeletFinder.find(isThorough);
    return {
      workloads,
      kubelets: search.kubelets,
      hostNetnsCookie: netnsCookie(this.resolver.hostNetns),
      problems: [...problems, ...search.problems],
    };
  }

  /**
   * Where the namespace of a pod is that is not served any more: by a process that shows it.
   * @returns undefined: the pod is gone; 'unknown': it is there, and no process of it is in that namespace
   */
  findNetns({ podUid, cookie }: ChangedNetns, lend: LendNetns): NetnsRef | 'unknown' | undefined {
    const pod = this.resolver.pod(podUid);
    if (pod === undefined) return undefined;
    try {
      // A cookie is proof enough: it is never given twice.
      const found = this.resolver.podNetns(pod, [], lend);
      return found?.cookie === BigInt(cookie) ? found : 'unknown';
    } catch {
      return 'unknown';
    }
  }
}
