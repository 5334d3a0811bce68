// Pods that dial from their first moment on: before the agent knows of them, nothing may leave.
import { APPLICATION_IMAGE } from '@sluice/testbed';

/** Each dials without a pause and logs every answer, until a ztunnel has accepted; then it logs `served`. */
const DIAL = `while :; do
  answer=$(/bin/peer dial --to "$0")
  echo "$answer"
  case $answer in *'"originalDst"'*) break ;; esac
done
echo served
exec sleep 1000000`;

/** Several at once, since each has only one first moment. */
const REPLICAS = 5;

export function earlyDeployment(namespace: string, to: string): unknown {
  const labels = { app: 'early' };
  const container = {
    name: 'early',
    image: APPLICATION_IMAGE,
    imagePullPolicy: 'Never',
    command: ['/bin/sh', '-c', DIAL, to],
  };
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { namespace, name: 'early' },
    spec: {
      replicas: REPLICAS,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { terminationGracePeriodSeconds: 1, containers: [container] } },
    },
  };
}
