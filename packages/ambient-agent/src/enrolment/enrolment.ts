// What the enrolment is made from, and what comes of it.
import type { DesiredMaps } from '@sluice/datapath';
import type { AgentConfig } from '../config/config.js';
import type { Inventory } from '../inventory/model.js';
import type { HeldAddress } from './addresses.js';
import type { CaptureFacts } from './capture.js';
import type { Workload } from './node-pods.js';
import type { InPodFacts, ServedPod } from './served.js';
import type { WorkloadStatus } from './status.js';
import type { Ztunnels } from './ztunnel.js';

/** A cgroup in which a kubelet runs. */
export interface KubeletCgroup {
  readonly cgroupPath: string;
  readonly cgroupId: bigint;
  /** Depth below the cgroup2 root. */
  readonly level: number;
}

export type EnrolmentConfig = Pick<
  AgentConfig,
  | 'mode'
  | 'capture'
  | 'nodeName'
  | 'inventory'
  | 'enablementSelectors'
  | 'excludeNamespaces'
  | 'exclude'
  | 'policy'
  | 'probes'
  | 'ambient'
  | 'sampling'
  | 'ztunnel'
>;

export interface EnrolmentInput {
  readonly inventory: Inventory;
  /** By pod UID, as cgroupfs names it. */
  readonly workloads: ReadonlyMap<string, Workload>;
  readonly ztunnels: Ztunnels;
  readonly kubelets: readonly KubeletCgroup[];
  readonly hostNetnsCookie: bigint;
  readonly config: EnrolmentConfig;
  /** What `inPod` mode knows in addition. */
  readonly served?: InPodFacts;
  /** What decides how a pod is captured. Without it, no pod is captured by route. */
  readonly capture?: CaptureFacts;
  /** UIDs of the pods whose connections have been held long enough. */
  readonly overdue?: ReadonlySet<string>;
  /** The addresses that network namespaces hold, by their cookies. */
  readonly addresses?: ReadonlyMap<bigint, readonly HeldAddress[]>;
}

export interface Enrolment {
  readonly desired: DesiredMaps;
  /** Sorted by namespace and name. */
  readonly statuses: readonly WorkloadStatus[];
  /** In `inPod` mode, the pods whose network namespaces ztunnel is to listen in; each namespace once. */
  readonly served: readonly ServedPod[];
  /** Whether a later look at the node may find more of a wanted pod. */
  readonly isIncomplete: boolean;
}
