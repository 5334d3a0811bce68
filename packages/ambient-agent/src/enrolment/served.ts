// What `inPod` mode adds to the enrolment: ztunnel's acknowledgements as input, and the pods that it is to serve as output.
import type { NetnsRef } from '@sluice/cgroup-resolver';
import type { Capture } from './capture.js';

/** By pod UID, as the API has it. */
export interface InPodFacts {
  /** Pods that ztunnel has acknowledged, and the cookie of the network namespace in which it did. */
  readonly acknowledged: ReadonlyMap<string, bigint>;
  /** Why ztunnel does not serve a pod, in ztunnel's words. */
  readonly refusals: ReadonlyMap<string, string>;
  /** Cookies of namespaces that were verified before, for pods whose namespaces no process shows now. */
  readonly remembered: ReadonlyMap<string, bigint>;
  /** Whether any ztunnel is connected. */
  readonly isConnected: boolean;
  /** Cookies of the namespaces to which the inbound program is attached. */
  readonly attached: ReadonlySet<bigint>;
  /** What of a pod is not in force in the kernel, in words, by pod UID. */
  readonly notInForce: ReadonlyMap<string, string>;
  /** UIDs of pods that are not wanted any more and stay in the mesh until their peers have heard of it. */
  readonly leaving: ReadonlySet<string>;
  /** UIDs of pods that the maps have as not wanted, and whose namespaces are not prepared yet. */
  readonly entering: ReadonlySet<string>;
}

export const noneServed: InPodFacts = {
  acknowledged: new Map(),
  refusals: new Map(),
  remembered: new Map(),
  isConnected: false,
  attached: new Set(),
  notInForce: new Map(),
  leaving: new Set(),
  entering: new Set(),
};

/** A pod in whose network namespace ztunnel is to listen. */
export interface ServedPod {
  readonly uid: string;
  /** The UID in cgroupfs, which differs for a static pod. */
  readonly podUid: string;
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** Canonical text; the pod's primary one first. */
  readonly ips: readonly string[];
  /** The cookie of its network namespace. */
  readonly cookie: bigint;
  /** Undefined if the namespace is remembered and cannot be found now. */
  readonly netns: NetnsRef | undefined;
  readonly isAcknowledged: boolean;
  /** Whether ztunnel is to be told of it now. */
  readonly isOffered: boolean;
  /** How what goes out of it is captured now, or waits to be. */
  readonly capture: Capture;
  /** Whether its namespace is to be prepared for the route, so that it can be captured by route from one moment to the next. */
  readonly isRoutable: boolean;
}
