// A testbed node with the datapath on it and no agent: the tests write the maps themselves.
import { relative } from 'node:path';
import { statSync } from 'node:fs';
import { BpfMap } from '@sluice/libbpf';
import { netnsCookie } from '@sluice/linux';
import { TestNode, cgroup2Root, type HostProcess, type Pod, type StandInZtunnel } from '@sluice/testbed';
import {
  Datapath,
  NOT_IN_MESH,
  WorkloadFlag,
  type CgroupInfo,
  type DesiredMaps,
  type TrafficRule,
} from '../src/index.js';

/** Depth of a directory below the cgroup2 root: the level of bpf_get_current_ancestor_cgroup_id(). */
export function levelOf(path: string): number {
  return relative(cgroup2Root(), path).split('/').length;
}

export const cgroupId = (path: string): bigint => statSync(path, { bigint: true }).ino;

/** The bits about which user space has decided. */
const DECIDED = WorkloadFlag.AMBIENT | WorkloadFlag.ZTUNNEL | WorkloadFlag.KUBELET;

export class MeshedNode implements AsyncDisposable {
  readonly node: TestNode;
  readonly pinDirectory: string;
  datapath: Datapath;
  readonly #cgroups = new Map<bigint, CgroupInfo>();
  readonly #netns: DesiredMaps['netns'] = new Map();
  readonly #localPods = new Map<string, { netnsCookie: bigint; flags: number }>();
  /** By netns cookie; a test adds what it adds to a namespace. */
  readonly ownAddresses = new Map<bigint, readonly string[]>();
  readonly #levels = new Set<number>();
  readonly rules: TrafficRule[] = [];
  settings: DesiredMaps['settings'];

  private constructor(node: TestNode, cgroup: string, pinDirectory: string) {
    this.node = node;
    this.pinDirectory = pinDirectory;
    this.datapath = Datapath.open({ pinDirectory, cgroup });
    this.settings = {
      ztunnelIPv4: undefined,
      ztunnelIPv6: undefined,
      noZtunnel: 'closed',
      unknown: 'hold',
      ztunnelByMark: false,
      probesExempt: 'kubelet',
      hostNetnsCookie: netnsCookie(node.netns.path),
      cgroupLevels: [],
      sampleEvery: 1,
    };
  }

  static async create(): Promise<MeshedNode> {
    const node = await TestNode.create();
    return MeshedNode.on(node, node.cgroup.path);
  }

  /** Takes over the node, and attaches the programs to a cgroup of it. */
  static async on(node: TestNode, cgroup: string): Promise<MeshedNode> {
    try {
      const meshed = new MeshedNode(node, cgroup, `${await node.bpffs()}/sluice`);
      meshed.apply();
      const [failure] = meshed.datapath.activate().failures;
      if (failure !== undefined) throw failure.error;
      return meshed;
    } catch (error) {
      await node.close();
      throw error;
    }
  }

  /** Writes what the agent would: entries under the pod-level cgroup, by netns, and by each IP. `more`: bits beside AMBIENT. */
  enrol(pod: Pod, more = 0): void {
    const id = cgroupId(pod.cgroup.path);
    const flags = WorkloadFlag.AMBIENT | more;
    const info = { id, inMesh: true, ip: pod.ips[0], flags, detectedFlags: DECIDED };
    const cookie = netnsCookie(pod.netns);
    this.#add(pod.cgroup.path, info);
    (this.#netns as Map<bigint, CgroupInfo>).set(cookie, info);
    for (const ip of pod.ips) this.#localPods.set(ip, { netnsCookie: cookie, flags });
    this.ownAddresses.set(cookie, pod.ips);
  }

  leave(pod: Pod): void {
    this.#cgroups.delete(cgroupId(pod.cgroup.path));
    const netns = this.#netns as Map<bigint, CgroupInfo>;
    const cookie = netnsCookie(pod.netns);
    if (this.datapath.attachedNetns().has(cookie)) netns.set(cookie, NOT_IN_MESH);
    else netns.delete(cookie);
    for (const ip of pod.ips) this.#localPods.delete(ip);
    this.ownAddresses.delete(netnsCookie(pod.netns));
  }

  setZtunnel({ pod }: StandInZtunnel): void {
    const info = {
      id: cgroupId(pod.cgroup.path),
      inMesh: false,
      ip: pod.ip4,
      flags: WorkloadFlag.ZTUNNEL,
      detectedFlags: DECIDED,
    };
    this.#add(pod.cgroup.path, info);
    this.settings = { ...this.settings, ztunnelIPv4: pod.ip4, ztunnelIPv6: pod.ip6 };
  }

  setKubelet(kubelet: HostProcess): void {
    const id = cgroupId(kubelet.cgroup.path);
    this.#add(kubelet.cgroup.path, {
      id,
      inMesh: false,
      ip: undefined,
      flags: WorkloadFlag.KUBELET,
      detectedFlags: DECIDED,
    });
  }

  get desired(): DesiredMaps {
    return {
      cgroups: this.#cgroups,
      netns: this.#netns,
      localPods: this.#localPods,
      ownAddresses: this.ownAddresses,
      rules: this.rules,
      settings: { ...this.settings, cgroupLevels: [...this.#levels].toSorted((a, b) => a - b) },
    };
  }

  /** Writes the maps; throws what could not be written. */
  apply(): void {
    const { failures } = this.datapath.apply(this.desired);
    if (failures[0] !== undefined) throw failures[0].error;
  }

  /** How many connections are between SYN and acceptance. */
  handoffs(): number {
    using map = BpfMap.openPinned(`${this.pinDirectory}/maps/origin_handoff`);
    return [...map.keys()].length;
  }

  async close(): Promise<void> {
    this.datapath.close();
    await this.node.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #add(path: string, info: CgroupInfo): void {
    this.#levels.add(levelOf(path));
    this.#cgroups.set(cgroupId(path), info);
  }
}
