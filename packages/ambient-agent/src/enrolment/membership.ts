// Whether a pod is wanted in the mesh, and why, by istio-cni's rules in istio-cni's order (docs/architecture.md).
import type { Inventory, Pod } from '../inventory/model.js';
import type { AgentConfig } from '../config/config.js';
import { enablement } from './selector.js';

/** The annotation that a sidecar injector leaves on a pod that it injected (istio pkg/kube/inject). */
export const SIDECAR_STATUS_ANNOTATION = 'sidecar.istio.io/status';

export type Membership = {
  /** For people, without `in mesh:` or `out:`. */
  readonly because: string;
} & (
  | { readonly verdict: 'wanted' }
  /** Not known yet; the pod is held until it is. */
  | { readonly verdict: 'undecided' }
  | { readonly verdict: 'out'; readonly code: OutCode }
);

/** Why a pod is not wanted, in one word each. */
export const OUT_CODES = [
  'ztunnel',
  'excluded-namespace',
  'host-network',
  'static-pod',
  'sidecar',
  'not-selected',
  'ended',
] as const;
export type OutCode = (typeof OUT_CODES)[number];

export type MembershipConfig = Pick<AgentConfig, 'nodeName' | 'enablementSelectors' | 'excludeNamespaces'> & {
  readonly inventory: Pick<AgentConfig['inventory'], 'source'>;
};

const out = (code: OutCode, because: string): Membership => ({ verdict: 'out', code, because });

/**
 * Follows cni/pkg/util/enablement_selector.go and cni/pkg/nodeagent/informers.go of Istio, except that a pod whose containers have ended is
 * not out by that: what is left of it may still dial. Pure.
 * @param ztunnelUids ztunnel's own pods, which are never captured
 * @param isStatic whether the pod runs under its manifest's hash
 */
export function membership(
  pod: Pod,
  inventory: Inventory,
  ztunnelUids: ReadonlySet<string>,
  config: MembershipConfig,
  isStatic = false,
): Membership {
  if (ztunnelUids.has(pod.uid)) return out('ztunnel', 'is ztunnel');
  if (config.excludeNamespaces.includes(pod.namespace))
    return out('excluded-namespace', `namespace ${pod.namespace} is excluded`);
  if (pod.hostNetwork) return out('host-network', 'hostNetwork');
  if (Object.hasOwn(pod.annotations, SIDECAR_STATUS_ANNOTATION)) return out('sidecar', 'has a sidecar');
  const namespace = inventory.namespaces.get(pod.namespace);
  const { isEnabled, because } = enablement(config.enablementSelectors, pod.labels, namespace?.labels ?? {});
  if (isEnabled) return isStatic ? out('static-pod', staticWords) : { verdict: 'wanted', because };
  if (namespace !== undefined) return out('not-selected', because);
  // The two watches of the API are not in step, and a pod's namespace exists before the pod.
  if (config.inventory.source === 'kubernetes')
    return { verdict: 'undecided', because: `namespace ${pod.namespace} is not known yet` };
  return out('not-selected', `${because} (namespace ${pod.namespace} is not in the inventory)`);
}

/**
 * The namespaces whose pods are wanted in the mesh unless their own labels say otherwise: those that the guard is told of. Pure.
 */
export function expectedNamespaces(
  { namespaces }: Pick<Inventory, 'namespaces'>,
  { enablementSelectors, excludeNamespaces }: Pick<MembershipConfig, 'enablementSelectors' | 'excludeNamespaces'>,
): string[] {
  return [...namespaces]
    .filter(
      ([name, { labels }]) =>
        !excludeNamespaces.includes(name) && enablement(enablementSelectors, {}, labels).isEnabled,
    )
    .map(([name]) => name);
}

const staticWords =
  'is a static pod, for whose service account istiod issues no certificate; run it as a DaemonSet to have it in the mesh';
