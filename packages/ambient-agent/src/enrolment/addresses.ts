// Whose a Pod IP is. An address is given anew while the API still shows it on the pod that had it before: the newer has it.
import { isTerminal, podName, type Inventory, type Pod } from '../inventory/model.js';
import { newestFirst } from './ztunnel.js';

export interface AddressOwners {
  /** The addresses that are really the pod's, in its own order. */
  readonly of: (pod: Pod) => readonly string[];
  /** For a pod that lost addresses: which, and to whom. */
  readonly problemsOf: (pod: Pod) => readonly string[];
}

/** Pure, and independent of the inventory's order. Pods in the host's namespace have the node's address and claim none. */
export function addressOwners(inventory: Inventory, nodeName: string): AddressOwners {
  const owners = new Map<string, Pod>();
  const claimants = [...inventory.pods.values()].filter(
    (pod) => pod.nodeName === nodeName && !isTerminal(pod) && !pod.hostNetwork,
  );
  for (const pod of claimants.sort(newestFirst)) {
    for (const ip of pod.ips) if (!owners.has(ip)) owners.set(ip, pod);
  }
  const isOwn = (pod: Pod, ip: string): boolean => owners.get(ip)?.uid === pod.uid;
  return {
    of: (pod) => pod.ips.filter((ip) => isOwn(pod, ip)),
    problemsOf: (pod) =>
      pod.ips.flatMap((ip) => {
        const owner = owners.get(ip);
        return owner === undefined || owner.uid === pod.uid
          ? []
          : [`its IP ${ip} belongs to the newer pod ${podName(owner)} now`];
      }),
  };
}
