// The object of a pod as Kubernetes has it, and what it says when Kubernetes is told something that is not so.
import { createHash } from 'node:crypto';
import type { KubernetesObject, PodPhase, QosClass } from './kubernetes-objects.js';

/** What the kubelet has reported of a pod. */
export interface ReportedStatus {
  readonly phase: PodPhase;
  readonly ready: boolean;
  /** Pod IPs, IPv4 first. */
  readonly ips: readonly string[];
}

export interface DescribedPod {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly serviceAccountName: string;
  readonly hostNetwork: boolean;
  readonly qosClass: QosClass;
  readonly nodeName: string;
  readonly hostIp: string;
  readonly securityContext: Readonly<Record<string, unknown>> | undefined;
  /** Without the sandbox; those that do not run yet have no id. */
  readonly containers: readonly { readonly name: string; readonly id?: string }[];
  /** Undefined before the kubelet has reported anything. */
  readonly status: ReportedStatus | undefined;
}

/** Pure. */
export function podObject(pod: DescribedPod): KubernetesObject {
  const ready = pod.status?.ready === true && pod.status.phase === 'Running' ? 'True' : 'False';
  const object = {
    spec: {
      nodeName: pod.nodeName,
      serviceAccountName: pod.serviceAccountName,
      hostNetwork: pod.hostNetwork,
      containers: pod.containers.map(({ name }) => ({ name, image: 'peer', securityContext: pod.securityContext })),
    },
    status: {
      phase: pod.status?.phase ?? 'Pending',
      qosClass: { guaranteed: 'Guaranteed', burstable: 'Burstable', besteffort: 'BestEffort' }[pod.qosClass],
      ...(pod.status === undefined
        ? { conditions: [{ type: 'PodScheduled', status: 'True' }] }
        : {
            hostIP: pod.hostIp,
            podIP: pod.status.ips[0],
            podIPs: pod.status.ips.map((ip) => ({ ip })),
            conditions: ['Initialized', 'ContainersReady', 'Ready', 'PodScheduled'].map((type) => ({
              type,
              status: /Ready/.test(type) ? ready : 'True',
            })),
            containerStatuses: pod.containers.map(({ name, id }) => ({
              name,
              ready: ready === 'True',
              restartCount: 0,
              ...(id === undefined ? {} : { containerID: `containerd://${id}` }),
              state:
                id === undefined
                  ? { waiting: { reason: 'ContainerCreating' } }
                  : { running: { startedAt: '2026-01-01T00:00:00Z' } },
            })),
          }),
    },
  };
  const { name, namespace, uid, labels, annotations } = pod;
  return withRevision({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, uid, labels, annotations },
    ...object,
  });
}

/**
 * The object with other values at these dotted paths, such as `status.podIP`; undefined takes the field away. Pure.
 * @throws Error for a path through something that is no object
 */
export function misreported(object: KubernetesObject, fields: Readonly<Record<string, unknown>>): KubernetesObject {
  const told = structuredClone(object) as KubernetesObject & Record<string, unknown>;
  for (const [path, value] of Object.entries(fields)) {
    const keys = path.split('.');
    const last = keys.pop() ?? '';
    let place: Record<string, unknown> = told;
    for (const key of keys) {
      const next = (place[key] ??= {});
      if (!isRecord(next)) throw new Error(`${path}: ${key} of ${object.kind} ${object.metadata.name} is no object`);
      place = next;
    }
    if (value === undefined) delete place[last];
    else place[last] = value;
  }
  return withRevision(told);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** For readers of manifests: the same revision means the same object. */
function withRevision(object: KubernetesObject): KubernetesObject {
  const { resourceVersion: _resourceVersion, ...metadata } = object.metadata;
  const content = JSON.stringify({ ...object, metadata });
  const resourceVersion = createHash('sha256').update(content).digest().readUInt32BE().toString();
  return { ...object, metadata: { ...metadata, resourceVersion } };
}
