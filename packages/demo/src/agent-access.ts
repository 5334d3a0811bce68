// What the agent may do in the cluster: the rules of the ClusterRole in deploy/, and nothing else.
import type { KubernetesCluster, PolicyRule } from '@sluice/testbed';

export const AGENT_RULES: readonly PolicyRule[] = [
  { apiGroups: [''], resources: ['pods'], verbs: ['get', 'list', 'watch'] },
  { apiGroups: [''], resources: ['namespaces'], verbs: ['list', 'watch'] },
  { apiGroups: [''], resources: ['pods/status'], verbs: ['patch'] },
  { apiGroups: [''], resources: ['events'], verbs: ['create'] },
];

const TOKEN = 'sluice';

/** Path of the kubeconfig that the agent gets. */
export async function agentKubeconfig(cluster: KubernetesCluster): Promise<string> {
  await cluster.api.call('allow', TOKEN, {
    name: 'system:serviceaccount:istio-system:sluice',
    rules: AGENT_RULES,
  });
  return cluster.kubeconfig(TOKEN);
}
