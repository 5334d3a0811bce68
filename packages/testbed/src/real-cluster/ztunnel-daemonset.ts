// The stand-in ztunnel for a real cluster: a DaemonSet with the names, rights and volume of ztunnel in Istio's chart.
import type { KubernetesObject } from '../kubernetes-objects.js';
import { ZTUNNEL_POD } from '../ztunnel.js';
import { APPLICATION_IMAGE } from './images.js';

const { namespace, labels, serviceAccountName } = ZTUNNEL_POD;
const DIRECTORY = '/var/run/ztunnel';

/** It runs in inPod mode. Its lines contain the name of its pod; they are its log. The namespace must exist. */
export function ztunnelDaemonSet(): KubernetesObject[] {
  const metadata = { namespace, name: serviceAccountName };
  const container = {
    name: 'istio-proxy',
    image: APPLICATION_IMAGE,
    imagePullPolicy: 'Never',
    args: ['ztunnel', '--name', '$(POD_NAME)', '--zds', `${DIRECTORY}/ztunnel.sock`],
    env: [{ name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }],
    securityContext: {
      privileged: false,
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      runAsUser: 0,
      capabilities: { drop: ['ALL'], add: ['NET_ADMIN', 'SYS_ADMIN', 'NET_RAW'] },
    },
    volumeMounts: [{ name: 'socket', mountPath: DIRECTORY }],
  };
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
    {
      apiVersion: 'apps/v1',
      kind: 'DaemonSet',
      metadata,
      spec: {
        selector: { matchLabels: { app: labels.app } },
        template: {
          metadata: { labels },
          spec: {
            serviceAccountName,
            containers: [container],
            volumes: [{ name: 'socket', hostPath: { path: DIRECTORY, type: 'DirectoryOrCreate' } }],
          },
        },
      },
    },
  ];
}
