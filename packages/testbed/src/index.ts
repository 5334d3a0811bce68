// The testbed's public surface, for tests, the demo and the benchmarks.
export { Agent, type AgentOptions } from './agent.js';
export {
  Attempts,
  dialsAtOnce,
  readAttempt,
  usurps,
  wayOf,
  type AtOnceOptions,
  type Attempt,
  type Way,
} from './attempts.js';
export {
  dialSourcePorts,
  Load,
  type LoadOptions,
  type LoadSummary,
  type Runner,
  type CampaignSummary,
  type SourcePortCampaign,
} from './campaigns.js';
export { Cgroup, cgroup2Root } from './cgroup.js';
export type { ClusterState } from './cluster-state.js';
export { Container } from './container.js';
export type { ContainerPlace, ContainerRuntime } from './container-runtime.js';
export { Crowd, type Echoed } from './crowd.js';
export { Dialler, readDial, type DialMethod, type DialOptions, type DialResult, type Hop } from './dialler.js';
export { HostProcess } from './host-process.js';
export { KubernetesApiProcess } from './kubernetes-api/api-process.js';
export type { PolicyRule, User } from './kubernetes-api/authorization.js';
export { KubernetesApi, type AnsweredRequest, type KubernetesApiOptions } from './kubernetes-api/api-server.js';
export type { Fault, FaultFilter, Faults, SentFault } from './kubernetes-api/faults.js';
export type { ApiObject, ObjectPlace } from './kubernetes-api/resources.js';
export type { WatchStream } from './kubernetes-api/watch-stream.js';
export { KubernetesCluster } from './kubernetes-cluster.js';
export { KubernetesDirectory } from './kubernetes-directory.js';
export { namespaceObject, toYaml, type KubernetesObject, type PodPhase, type QosClass } from './kubernetes-objects.js';
export { LineProcess, runToEnd, type Exit } from './line-process.js';
export { Namespace } from './namespace.js';
export { removeAtExit, removeEverything, sweep, uniqueName, workDirectory } from './ownership.js';
export { blockUntil, Hopeless, PATIENCE_MS, until } from './patience.js';
export { enterCommand, peerProgram, PURE_V2_ROOT, type Place } from './peer-program.js';
export { NestedNetns } from './nested-netns.js';
export { Pod, type CgroupStyle, type PodSpec } from './pod.js';
export {
  KUBELET_ORDER,
  KUBELET_PAUSES,
  moved,
  SANDBOX_STEPS,
  without,
  type PodStart,
  type PodStep,
} from './pod-start.js';
export { APPLICATION_PORTS, applicationDeployment, type ApplicationOptions } from './real-cluster/application.js';
export { APPLICATION_IMAGE } from './real-cluster/images.js';
export { Kubectl, LiveObject } from './real-cluster/kubectl.js';
export { isReady, restarts, type LivePod } from './real-cluster/live-pod.js';
export { PodLoad } from './real-cluster/pod-load.js';
export { RealCluster, type RealClusterOptions } from './real-cluster/real-cluster.js';
export { ztunnelDaemonSet } from './real-cluster/ztunnel-daemonset.js';
export { RemoteNode } from './remote-node.js';
export { DNS_ANSWERS, type DnsAnswer, type Resolution, type ResolveOptions } from './resolution.js';
export { cgroup2Mount, findProgram, requires, type Gate, type Need } from './requires.js';
export { Server, type ServeOptions } from './server.js';
export { Stream, type StreamSummary } from './stream.js';
export { TestNode, type TestNodeOptions } from './test-node.js';
export { endpoint, type Addresses, POD_NETWORK, REMOTE_NETWORK, WIRE } from './topology.js';
export {
  StandInZtunnel,
  ZTUNNEL_PORTS,
  type InPodZtunnelOptions,
  type NodeZtunnelOptions,
  type ZtunnelOptions,
} from './ztunnel.js';
export type { ZtunnelEvent } from './ztunnel-events.js';
