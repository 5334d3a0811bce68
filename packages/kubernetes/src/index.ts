// The public surface of @sluice/kubernetes.
export type { ApiAccess, Credentials } from './access.js';
export { ApiClient, type ApiClientOptions, type ApiRequest, type Query } from './api-client.js';
export { ApiError } from './api-error.js';
export { backOffMs, type BackOff } from './back-off.js';
export { openAccess } from './default-access.js';
export { inClusterAccess, type InClusterOptions } from './in-cluster.js';
export { kubeConfigAccess, type KubeConfigOptions } from './kubeconfig.js';
export type { Change } from './object-cache.js';
export { objectFate, type ObjectFate } from './object-fate.js';
export { patchPodAnnotation, type PodReference } from './pod-annotation.js';
export { PodEvents, type PodEvent, type PodEventsOptions } from './pod-events.js';
export {
  reflect,
  type Reflector,
  type ReflectorCounters,
  type ReflectorNews,
  type ReflectorOptions,
  type ReflectorState,
} from './reflector.js';
export { NAMESPACES, NODES, PODS, type ApiObject, type ApiResource } from './resource.js';
export type { RetryOptions } from './retry.js';
