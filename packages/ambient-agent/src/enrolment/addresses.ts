// Which pod owns a Pod IP. An address may be used again while the API still shows it on its former pod, so the newer pod owns it.
import { isTerminal, podName, type Inventory, type Pod } from '../inventory/model.js';
import { newestFirst } from './ztunnel.js';

export interface AddressOwners {
  /** The addresses that the pod owns, in its own order. */
  readonly of: (pod: Pod) => readonly string[];
  /** Which addresses a pod lost, and to which pod. */
  readonly problemsOf: (pod: Pod) => readonly string[];
}

/** Pure; the inventory's order does not matter. Pods in the host's namespace have the node's address and claim none. */
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
