// Finds ztunnel by namespace AND labels AND service account, so that no tenant's pod can pose as ztunnel and take the node's
// traffic.
import type { AgentConfig } from '../config/config.js';
import { isTerminal, podName, type Inventory, type Pod } from '../inventory/model.js';
import { matchesLabels } from './selector.js';

export interface Ztunnels {
  /** Every ztunnel pod of this node that has not ended, newest first. All of them may still dial for applications. */
  readonly pods: readonly Pod[];
  /** In `node` mode, the one that gets new connections, which is the newest that is Ready; undefined if there is none. */
  readonly active: Pod | undefined;
  readonly ipv4: string | undefined;
  readonly ipv6: string | undefined;
  /** Warnings, such as of pods that look like ztunnel and are not. */
  readonly problems: readonly string[];
}

export type ZtunnelConfig = Pick<AgentConfig, 'mode' | 'nodeName' | 'ztunnel'>;

/** Newest first, and at the same age by UID, so that every caller gets the same order. */
export function newestFirst(a: Pod, b: Pod): number {
  return b.bornMs - a.bornMs || (a.uid < b.uid ? 1 : a.uid > b.uid ? -1 : 0);
}

/** Pure; the inventory's order does not matter. */
export function discoverZtunnels(inventory: Inventory, config: ZtunnelConfig): Ztunnels {
  const { namespace, labels, serviceAccount } = config.ztunnel;
  const pods: Pod[] = [];
  const problems: string[] = [];
  for (const pod of inventory.pods.values()) {
    if (pod.nodeName !== config.nodeName || isTerminal(pod) || !matchesLabels({ matchLabels: labels }, pod.labels))
      continue;
    const wrong: string[] = [];
    if (pod.namespace !== namespace) wrong.push(`it is not in namespace ${namespace}`);
    if (pod.serviceAccount !== serviceAccount)
      wrong.push(`its service account is ${pod.serviceAccount}, not ${serviceAccount}`);
    if (wrong.length === 0) pods.push(pod);
    else problems.push(`pod ${podName(pod)} has ztunnel's labels but is not taken for it: ${wrong.join(', ')}`);
  }
  pods.sort(newestFirst);
  // In inPod mode, each connected ztunnel serves its own pods, so none has to be chosen by its IP.
  if (config.mode === 'inPod')
    return { pods, active: undefined, ipv4: undefined, ipv6: undefined, problems: problems.sort() };
  const active =
    pods.find((pod) => pod.isReady && !pod.isDeleting && pod.ips.length > 0) ??
    pods.find((pod) => pod.isReady && pod.ips.length > 0);
  if (pods.length > 0 && active === undefined) {
    problems.push(`no ztunnel of this node is Ready and has an IP: ${pods.map(podName).join(', ')}`);
  }
  return {
    pods,
    active,
    ipv4: active?.ips.find((ip) => !ip.includes(':')),
    ipv6: active?.ips.find((ip) => ip.includes(':')),
    problems: problems.sort(),
  };
}
