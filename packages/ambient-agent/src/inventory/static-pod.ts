// A static pod's cgroup is named by the hash of its manifest, while the API server gives its mirror another UID (kubernetes
// pkg/kubelet/types).
import type { Pod } from './model.js';

const CONFIG_HASH_ANNOTATION = 'kubernetes.io/config.hash';
const MIRROR_ANNOTATION = 'kubernetes.io/config.mirror';
const manifestHash = /^[0-9a-f]{32}$/;

/**
 * The UID that a static pod's cgroup has, if this is the object by which the API shows one; any other pod's is its own. The object proves
 * nothing: where a pod runs under its own UID, it is no static pod, whatever its annotations say. Pure.
 */
export function staticPodUid(pod: Pod): string | undefined {
  const hash = pod.annotations[CONFIG_HASH_ANNOTATION];
  const isMirror = Object.hasOwn(pod.annotations, MIRROR_ANNOTATION);
  return isMirror && hash !== undefined && manifestHash.test(hash) ? hash : undefined;
}
