// What runs on the node at this moment: the cgroups and network namespaces of pods, and the kubelet's cgroup.
import { statSync } from 'node:fs';
import type { CgroupResolver, LendNetns, NetnsRef, PodCgroup, PodNamespacesOptions } from '@sluice/cgroup-resolver';
import type { Place } from '@sluice/datapath';
import { Netns } from '@sluice/linux';
import type { AgentConfig } from '../config/config.js';
import type { KubeletCgroup } from '../enrolment/enrolment.js';
import type { Workload } from '../enrolment/node-pods.js';
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
  readonly hostNetnsInode: bigint;
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
  readonly #suspects = new Set<string>();
  /** What the last look at every process of a pod found inside of it, by UID. */
  readonly #nested = new Map<string, readonly NetnsRef[]>();
  /** By path. A kubelet keeps such a cgroup while it has no pods. */
  readonly #podsParents = new Map<string, Place>();

  constructor(resolver: CgroupResolver, config: AgentConfig) {
    this.resolver = resolver;
    const { names, cgroup } = config.kubelet;
    this.kubeletFinder = new KubeletFinder(resolver, { procPath: config.paths.proc, names, cgroup });
  }

  /** The cgroups of all pods. @throws CgroupError when the tree cannot be read */
  cgroups(): readonly PodCgroup[] {
    const pods = this.resolver.pods();
    for (const pod of pods) this.#rememberParent(this.resolver.podsParent(pod));
    const present = new Set(pods.map(({ podUid }) => podUid));
    for (const podUid of this.#nested.keys()) if (!present.has(podUid)) this.#nested.delete(podUid);
    return pods;
  }

  /** The next look finds every namespace of this pod, because a process of it was seen in one that was not known. */
  suspect(podUid: string): void {
    this.#suspects.add(podUid);
  }

  /**
   * Looks for the network namespaces of some pods, and of no others.
   * @param wanted by UID in cgroupfs; whether the pod has a user namespace of its own
   * @param isThorough also looks at every process of these pods, and searches for kubelets again
   * @param lend a method of the owner of the pods' namespaces
   * @throws CgroupError, SystemCallError when the tree or the host's namespace cannot be read
   */
  read(
    cgroups: readonly PodCgroup[],
    wanted: ReadonlyMap<string, { readonly hasOwnUsers: boolean }>,
    isThorough: boolean,
    lend: LendNetns,
  ): NodeTruth {
    const problems: string[] = this.resolver.hierarchy.levelKnown ? [] : [levelUnknown];
    const workloads = new Map<string, Workload>();
    for (const pod of cgroups) {
      const { podUid } = pod;
      const how = wanted.get(podUid);
      try {
        workloads.set(
          podUid,
          how === undefined ? { pod, netns: undefined } : this.#look(pod, { ...how, isThorough, lend }),
        );
      } catch (error) {
        problems.push(`the network namespace of pod ${podUid} cannot be read: ${messageOf(error)}`);
        workloads.set(podUid, { pod, netns: undefined });
      }
    }
    const search = this.kubeletFinder.find(isThorough);
    using host = Netns.open(this.resolver.hostNetns);
    this.#suspects.clear();
    return {
      workloads,
      kubelets: search.kubelets,
      root: placeAt(this.resolver.cgroupRoot),
      podsParents: this.#livingParents(),
      hostNetnsCookie: host.cookie,
      hostNetnsInode: host.inode,
      problems: [...problems, ...search.problems],
    };
  }

  #look(pod: PodCgroup, options: PodNamespacesOptions): Workload {
    const isThorough = options.isThorough === true || this.#suspects.has(pod.podUid);
    const { own, nested, refused } = this.resolver.podNamespaces(pod, { ...options, isThorough });
    // Only a look at every process finds all of them, and those that it does not find any more are gone.
    if (isThorough || own === undefined) this.#nested.set(pod.podUid, nested);
    return { pod, netns: own, nested: this.#nested.get(pod.podUid) ?? [], refused };
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
      const { own, nested } = this.resolver.podNamespaces(pod, { isThorough: true, lend });
      return [own, ...nested].find((found) => found?.cookie === BigInt(cookie)) ?? 'unknown';
    } catch {
      return 'unknown';
    }
  }
}
