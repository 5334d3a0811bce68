// Pods that dial from their first moment on: in the short time until the agent has heard of them nothing may get out.
import { APPLICATION_IMAGE } from '@sluice/testbed';

/** They dial one after another, without a pause, and log each answer until a ztunnel has accepted; then `served`. */
const DIAL = `while :; do
  answer=$(/bin/peer dial --to "$0")
  echo "$answer"
  case $answer in *'"originalDst"'*) break ;; esac
done
echo served
exec sleep 1000000`;

/** Several at once, since each has one first moment only. */
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
