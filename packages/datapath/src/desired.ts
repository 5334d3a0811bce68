// What the maps ought to hold, in the words of the agent: addresses are text, flags are bits of WorkloadFlag.
// entries.ts turns it into map entries; nothing else knows their layout.

import { WorkloadFlag } from './generated/maps.js';

/** Bits of a workload's `flags`: `enum workload_flag` of bpf/maps.h. The first three are the project's fixed interface. */
export { WorkloadFlag };

/** The deepest level of `cgroupLevels` that a lookup tries: DEEPEST_LEVEL of bpf/caller.h. */
export const DEEPEST_LEVEL = 15;

/** The value of `cgroup_info_map` and `netns_info_map`: who a caller is. */
export interface CgroupInfo {
  /** The workload's own id: the cgroup id of the pod-level cgroup, the same in the entry of each of its containers. */
  readonly id: bigint;
  /** Whether connections of this workload go through the mesh. False for ztunnel's and the kubelet's entries. */
  readonly inMesh: boolean;
  /** The pod's first IP, canonical text, or undefined while it is not known. */
  readonly ip: string | undefined;
  /**
   * Bits of {@link WorkloadFlag}. The encoder sets EXCLUDES, and sets ONLY_INCLUDED_OUTBOUND and ONLY_INCLUDED_INBOUND
   * where `rules` include something; set one of these two only for a list that exists and is empty.
   */
  readonly flags: number;
  /** The flags about which user space has decided, whichever way. */
  readonly detectedFlags: number;
}

/**
 * For a namespace with the inbound program whose pod enters or leaves the mesh: everything passes there. Who calls from it is found as if
 * there were no entry.
 */
export const NOT_IN_MESH: CgroupInfo = { id: 0n, inMesh: false, ip: undefined, flags: 0, detectedFlags: 0 };

/** The value of `local_pods`: a pod of this node that is in the mesh, by one of its IPs. */
export interface LocalPod {
  /** Cookie of the pod's network namespace (SO_NETNS_COOKIE); 0n while it is not known. */
  readonly netnsCookie: bigint;
  readonly flags: number;
}

/**
 * What Istio's traffic annotations say about a workload (`workload`: its {@link CgroupInfo.id}). An exclusion wins over
 * an inclusion. Included ranges and included inbound ports make everything else excluded; an included outbound port is
 * captured whatever the address is. rules.ts has the same in code.
 */
export type TrafficRule =
  | {
      readonly kind: 'port';
      readonly workload: bigint;
      readonly direction: 'outbound' | 'inbound';
      readonly action: 'exclude' | 'include';
      readonly port: number;
    }
  /** Outbound. `cidr` is canonical text, IPv4 or IPv6, such as `10.0.0.0/8`. */
  | {
      readonly kind: 'cidr';
      readonly workload: bigint;
      readonly action: 'exclude' | 'include';
      readonly cidr: string;
    };

/** The contents of `settings` (ztunnel's addresses) and `config` (everything else that is one value for the node). */
export interface DatapathSettings {
  readonly ztunnelIPv4: string | undefined;
  readonly ztunnelIPv6: string | undefined;
  /**
   * What happens to a connection for a ztunnel in another pod while none is known: refused (`closed`) or let through (`open`).
   * For a pod with its own ztunnel, the flags REFUSE_WAITING and OPEN_WAITING decide.
   */
  readonly noZtunnel: 'closed' | 'open';
  /**
   * What happens to what a pod dials, and to who dials it, while it is expected in the mesh and has no entry in `cgroups`: nothing
   * gets through (`hold`), or everything does (`open`).
   */
  readonly unknown: 'hold' | 'open';
  /** Whether a socket marked 0x539 (mask 0xfff) counts as ztunnel's whatever its cgroup is. */
  readonly ztunnelByMark: boolean;
  /** Whose connections to meshed pods of this node are probes: the kubelet's, or those of all unmeshed callers in the host network. */
  readonly probesExempt: 'kubelet' | 'host';
  /** Cookie of the host's network namespace, where the kubelet's probes come from. */
  readonly hostNetnsCookie: bigint;
  /** Depths below the cgroup2 root (root = 0) at which `cgroups` has entries: the ancestors that a lookup tries. Those beyond {@link DEEPEST_LEVEL} do not count. */
  readonly cgroupLevels: readonly number[];
  /** One decision in this many is reported in the ring buffer; 0 reports none, 1 all. */
  readonly sampleEvery: number;
}

/** Everything that user space writes into the maps: a pure function of what is wanted and what exists. */
export interface DesiredMaps {
  /** By cgroup id. */
  readonly cgroups: ReadonlyMap<bigint, CgroupInfo>;
  /** By network namespace cookie. */
  readonly netns: ReadonlyMap<bigint, CgroupInfo>;
  /** By Pod IP, canonical text. */
  readonly localPods: ReadonlyMap<string, LocalPod>;
  /** Every address of each captured network namespace, canonical text, by the namespace's cookie; the pod's IPs are among them. */
  readonly ownAddresses: ReadonlyMap<bigint, readonly string[]>;
  readonly rules: readonly TrafficRule[];
  readonly settings: DatapathSettings;
}
