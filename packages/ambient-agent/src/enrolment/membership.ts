// Whether a pod is wanted in the mesh, and why, by istio-cni's rules in istio-cni's order (docs/architecture.md).
import { isTerminal, type Inventory, type Pod } from '../inventory/model.js';
import type { AgentConfig } from '../config/config.js';
import { enablement } from './selector.js';

/** The annotation that a sidecar injector leaves on a pod that it injected (istio pkg/kube/inject). */
export const SIDECAR_STATUS_ANNOTATION = 'sidecar.istio.io/status';

export interface Membership {
  readonly isWanted: boolean;
  /** The reason for people, without `in mesh:` or `out:`. */
  readonly because: string;
}

export type MembershipConfig = Pick<AgentConfig, 'nodeName' | 'enablementSelectors' | 'excludeNamespaces'>;

const out = (because: string): Membership => ({ isWanted: false, because });

/**
 * Follows cni/pkg/util/enablement_selector.go and cni/pkg/nodeagent/informers.go of Istio. Pure.
 * @param ztunnelUids ztunnel's own pods, which are never captured
 */
export function membership(
  pod: Pod,
  inventory: Inventory,
  ztunnelUids: ReadonlySet<string>,
  config: MembershipConfig,
): Membership {
  if (ztunnelUids.has(pod.uid)) return out('is ztunnel');
  if (isTerminal(pod)) return out(`has ended (${pod.phase})`);
  if (config.excludeNamespaces.includes(pod.namespace)) return out(`namespace ${pod.namespace} is excluded`);
  if (pod.hostNetwork) return out('hostNetwork');
  if (Object.hasOwn(pod.annotations, SIDECAR_STATUS_ANNOTATION)) return out('has a sidecar');
  const namespace = inventory.namespaces.get(pod.namespace);
  const { isEnabled, because } = enablement(config.enablementSelectors, pod.labels, namespace?.labels ?? {});
  if (!isEnabled && namespace === undefined)
    return out(`${because} (namespace ${pod.namespace} is not in the inventory)`);
  return { isWanted: isEnabled, because };
}
