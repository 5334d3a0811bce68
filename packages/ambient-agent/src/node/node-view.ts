// What runs on the node at this moment: the cgroups and network namespaces of pods, and the kubelet's cgroup.
import { statSync } from 'node:fs';
import type { CgroupResolver, LendNetns, NetnsRef } from '@sluice/cgroup-resolver';
import type { Place } from '@sluice/datapath';
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
  /** The configured cgroup. */
  readonly root: Place;
  /** The cgroups right above the QoS classes of pods, also of pods that have ended. */
  readonly podsParents: readonly Place[];
  readonly hostNetnsCookie: bigint;
  readonly problems: readonly string[];
}

const levelUnknown =
  'the depth of the mounted cgroup tree is unknown, so containers may be looked for at the wrong depth; mount the whole tree of the host, or run in its pid and cgroup namespaces';

/** The id of a cgroup; undefined if it is gone. */
const idAt = (path: string): bigint | undefined => statSync(path, { bigint: true, throwIfNoEntry: false })?.ino;

const placeAt = (path: string): Place => ({ path, id: statSync(path, { bigint: true }).ino });

/** Synchronous, because cgroupfs and /proc do not wait for a disk. */
export class NodeView {
  readonly resolver: CgroupResolver;
  readonly kubeletFinder: KubeletFinder;
  readonly #config: AgentConfig;
  /** By path. A kubelet keeps such a cgroup while it has no pods. */
  readonly #podsParents = new Map<string, Place>();

  constructor(resolver: CgroupResolver, config: AgentConfig) {
    this.resolver = resolver;
    this.#config = config;
    const { names, cgroup } = config.kubelet;
    this.kubeletFinder = new KubeletFinder(resolver, { procPath: config.paths.proc, names, cgroup });
  }

  /**
   * Looks for the network namespaces of pods that are wanted in the mesh, and of no others.
   * @param isThorough also searches for kubelets again
   * @param lend a method of the owner of the pods' namespaces
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
      this.#rememberParent(this.resolver.podsParent(pod));
      const ips = wantedIps.get(pod.podUid);
      let netns: Workload['netns'];
      // A namespace is the pod's only if it holds one of the pod's addresses, so a pod without any cannot have a verified one.
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
      root: placeAt(this.resolver.cgroupRoot),
      podsParents: this.#livingParents(),
      hostNetnsCookie: netnsCookie(this.resolver.hostNetns),
      problems: [...problems, ...search.problems],
    };
  }

  #rememberParent(path: string): void {
    if (this.#podsParents.has(path)) return;
    const id = idAt(path);
    if (id !== undefined) this.#podsParents.set(path, { path, id });
  }

  #livingParents(): readonly Place[] {
    for (const { path, id } of this.#podsParents.values()) {
      const now = idAt(path);
      if (now === undefined) this.#podsParents.delete(path);
      else if (now !== id) this.#podsParents.set(path, { path, id: now });
    }
    return [...this.#podsParents.values()];
  }

  /**
   * Finds the namespace of a pod that is no longer served, by a process of the pod that is in it.
   * @returns undefined if the pod is gone; 'unknown' if no process of the pod is in that namespace
   */
  findNetns({ podUid, cookie }: ChangedNetns, lend: LendNetns): NetnsRef | 'unknown' | undefined {
    const pod = this.resolver.pod(podUid);
    if (pod === undefined) return undefined;
    try {
      // The cookie is enough of a proof, because no two namespaces have the same one.
      const found = this.resolver.podNetns(pod, [], lend);
      return found?.cookie === BigInt(cookie) ? found : 'unknown';
    } catch {
      return 'unknown';
    }
  }
}
