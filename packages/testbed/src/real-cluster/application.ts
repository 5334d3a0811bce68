// An application for a real cluster: a Deployment that says who accepted a connection, with every kind of the kubelet's probes.
import type { KubernetesObject } from '../kubernetes-objects.js';
import { APPLICATION_IMAGE } from './images.js';

export interface ApplicationOptions {
  readonly namespace: string;
  readonly name: string;
  /** Default 1. */
  readonly replicas?: number;
  /** Labels of its pods, besides `app: <name>`. */
  readonly labels?: Readonly<Record<string, string>>;
}

/** It answers `<namespace>/<pod>` at 8080, and speaks HTTP at 8081. */
export const APPLICATION_PORTS = { application: 8080, web: 8081 } as const;

/** In seconds. A busy machine answers late, which is not a failure; a server that refuses does so at once. */
const PATIENCE = 60;
const probe = (how: Readonly<Record<string, unknown>>) => ({ ...how, periodSeconds: 1, timeoutSeconds: PATIENCE });
/** Runs a command that asks the kernel: the other probes begin when something listens, so that none of them ever fails. */
const listening = (port: number) => ({
  ...probe({ exec: { command: ['/bin/sh', '-c', `netstat -ltn | grep -q ':${port} '`] } }),
  failureThreshold: PATIENCE,
});

/** A Deployment named after the application. */
export function applicationDeployment(options: ApplicationOptions): KubernetesObject {
  const { namespace, name, replicas = 1 } = options;
  const labels = { app: name, ...options.labels };
  const { application, web } = APPLICATION_PORTS;
  const field = (variable: string, fieldPath: string) => ({ name: variable, valueFrom: { fieldRef: { fieldPath } } });
  // Without a request a pod would get next to nothing of a busy machine.
  const image = { image: APPLICATION_IMAGE, imagePullPolicy: 'Never', resources: { requests: { cpu: '20m' } } };
  const answering = probe({ tcpSocket: { port: application } });
  const serving = probe({ httpGet: { path: '/hostname', port: web } });
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { namespace, name },
    spec: {
      replicas,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels },
        spec: {
          // The first process of a pid namespace ignores SIGTERM unless it handles it, and these do not.
          terminationGracePeriodSeconds: 1,
          containers: [
            {
              name: 'application',
              ...image,
              args: ['serve', '--name', '$(POD_NAMESPACE)/$(POD_NAME)', '--port', String(application)],
              env: [field('POD_NAMESPACE', 'metadata.namespace'), field('POD_NAME', 'metadata.name')],
              startupProbe: listening(application),
              readinessProbe: answering,
              livenessProbe: answering,
            },
            {
              name: 'web',
              ...image,
              command: ['/bin/httpd', '-f', '-p', String(web), '-h', '/etc'],
              startupProbe: listening(web),
              readinessProbe: serving,
              livenessProbe: serving,
            },
          ],
        },
      },
    },
  };
}
