// From a decoded Kubernetes object to the fields that the agent keeps.
import { isIP } from 'node:net';
import { canonicalAddress } from '@sluice/datapath';
import type { Namespace, NamespaceObject, Pod, PodObject } from './model.js';

/** Pure. Absent fields get the values that the API server would give them. */
export function trimPod({ metadata, spec, status }: typeof PodObject.Type): Pod {
  const reported = [...(status?.podIPs ?? []).map(({ ip }) => ip), ...(status?.podIP ? [status.podIP] : [])];
  const good = reported.filter((ip) => isIP(ip) !== 0).map((ip) => canonicalAddress(ip));
  const born = metadata.creationTimestamp ?? status?.startTime;
  return {
    uid: metadata.uid,
    name: metadata.name,
    namespace: metadata.namespace ?? 'default',
    labels: metadata.labels ?? {},
    annotations: metadata.annotations ?? {},
    isDeleting: (metadata.deletionTimestamp ?? undefined) !== undefined,
    nodeName: spec.nodeName ?? undefined,
    hostNetwork: spec.hostNetwork ?? false,
    serviceAccount: spec.serviceAccountName ?? 'default',
    phase: status?.phase ?? 'Pending',
    ips: [...new Set(good)],
    badIps: [...new Set(reported.filter((ip) => isIP(ip) === 0))],
    isReady: (status?.conditions ?? []).some(({ type, status: value }) => type === 'Ready' && value === 'True'),
    bornMs: born === undefined || born === null ? 0 : Date.parse(born),
  };
}

/** Pure. */
export function trimNamespace({ metadata }: typeof NamespaceObject.Type): Namespace {
  return { name: metadata.name, labels: metadata.labels ?? {} };
}
