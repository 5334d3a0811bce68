// Reduces a decoded Kubernetes object to the fields that the agent keeps.
import { BlockList, isIP } from 'node:net';
import { canonicalAddress } from '@sluice/datapath';
import type { Namespace, NamespaceObject, Pod, PodObject } from './model.js';
import { networkAdmins } from './network-admins.js';

// Addresses that no CNI plugin gives a pod, and that would redirect connections of the host to itself.
const notOfPods = new BlockList();
for (const [network, prefix] of [
  ['0.0.0.0', 8],
  ['127.0.0.0', 8],
  ['224.0.0.0', 4],
] as const)
  notOfPods.addSubnet(network, prefix, 'ipv4');
for (const [network, prefix] of [
  ['::', 127],
  ['fe80::', 10],
  ['ff00::', 8],
] as const)
  notOfPods.addSubnet(network, prefix, 'ipv6');

/** The canonical text of an address; undefined if it is none that a pod can have. Pure. */
function podAddress(text: string): string | undefined {
  if (isIP(text) === 0 || text.includes('%')) return undefined;
  const address = canonicalAddress(text);
  return notOfPods.check(address, isIP(address) === 4 ? 'ipv4' : 'ipv6') ? undefined : address;
}

// Every annotation that the agent reads begins with one of these. The others, such as kubectl's copy of the whole
// manifest, would take most of the memory of a pod.
const READ_ANNOTATIONS = [
  'ambient.istio.io/',
  'istio.io/',
  'sidecar.istio.io/',
  'traffic.sidecar.istio.io/',
  'kubernetes.io/config.',
  'sluice/',
];

/** Pure. */
function readAnnotations(annotations: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(annotations).filter(([key]) => READ_ANNOTATIONS.some((prefix) => key.startsWith(prefix))),
  );
}

/** Pure. Absent fields get the values that the API server would give them. */
export function trimPod({ metadata, spec, status }: typeof PodObject.Type): Pod {
  const reported = [...(status?.podIPs ?? []).map(({ ip }) => ip), ...(status?.podIP ? [status.podIP] : [])];
  const good = reported.map(podAddress).filter((ip) => ip !== undefined);
  const born = metadata.creationTimestamp ?? status?.startTime;
  return {
    uid: metadata.uid,
    name: metadata.name,
    namespace: metadata.namespace ?? 'default',
    labels: metadata.labels ?? {},
    annotations: readAnnotations(metadata.annotations ?? {}),
    isDeleting: (metadata.deletionTimestamp ?? undefined) !== undefined,
    nodeName: spec.nodeName ?? undefined,
    hostNetwork: spec.hostNetwork ?? false,
    hasOwnUsers: spec.hostUsers === false,
    serviceAccount: spec.serviceAccountName ?? 'default',
    networkAdmins: networkAdmins(spec),
    phase: status?.phase ?? 'Pending',
    ips: [...new Set(good)],
    badIps: [...new Set(reported.filter((ip) => podAddress(ip) === undefined))],
    isReady: (status?.conditions ?? []).some(({ type, status: value }) => type === 'Ready' && value === 'True'),
    bornMs: born === undefined || born === null ? 0 : Date.parse(born),
  };
}

/** Pure. */
export function trimNamespace({ metadata }: typeof NamespaceObject.Type): Namespace {
  const annotations = readAnnotations(metadata.annotations ?? {});
  const annotated = Object.keys(annotations).length > 0 ? { annotations } : {};
  return { name: metadata.name, labels: metadata.labels ?? {}, ...annotated };
}
