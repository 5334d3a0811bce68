// How a pod comes to be: the steps of the scheduler, the kubelet, the runtime and the CNI plugin, their order, and what lies between.

export const POD_STEPS = [
  /** Kubernetes has it: scheduled to the node, Pending, without an address. */
  'object',
  /** The kubelet makes the pod-level cgroup. */
  'cgroup',
  /** The kubelet makes `NAMESPACE_NAME_UID` in the directory of logs. */
  'logs',
  /** The runtime makes the network namespace, with only its loopback. */
  'netns',
  /** The CNI plugin puts a device with the addresses into it. */
  'addresses',
  /** The runtime makes the sandbox's cgroup, and `pause` in it. */
  'sandbox',
  /** The runtime starts the application. */
  'app',
  /** The kubelet tells Kubernetes what it has found: phase, conditions, containers, addresses. */
  'status',
] as const;
export type PodStep = (typeof POD_STEPS)[number];

/** The steps one after the other; a number is a pause in ms. A step that is left out does not happen. */
export type PodStart = readonly (PodStep | number)[];

/** As the kubelet does it, without any pause. */
export const KUBELET_ORDER: readonly PodStep[] = POD_STEPS;

/**
 * The same with the pauses of a real kubelet (1.20 and 1.37, containerd, images that are there): from the pod-level cgroup to the
 * exec of pause 66 ms, of which CNI takes the most, from there to the application 120 ms, and a second until the address is
 * reported.
 */
export const KUBELET_PAUSES: PodStart = [
  'object',
  'cgroup',
  'logs',
  20,
  'netns',
  36,
  'addresses',
  10,
  'sandbox',
  120,
  'app',
  1000,
  'status',
];

/** What is made again when the sandbox is. */
export const SANDBOX_STEPS: readonly PodStep[] = ['netns', 'addresses', 'sandbox', 'app', 'status'];

/** The same without these steps: no pause process, no directory of logs, a status that never comes. Pure. */
export function without(start: PodStart, ...steps: readonly PodStep[]): PodStart {
  return start.filter((entry) => typeof entry === 'number' || !steps.includes(entry));
}

/**
 * The same with one step at another place: an object that comes late, addresses after pause. Pure.
 * @throws Error if the start has no step `after`
 */
export function moved(start: PodStart, step: PodStep, { after }: { readonly after: PodStep }): PodStart {
  const rest = without(start, step);
  const at = rest.indexOf(after) + 1;
  if (at === 0) throw new Error(`the start of a pod has no step ${after} that ${step} could follow`);
  return [...rest.slice(0, at), step, ...rest.slice(at)];
}
