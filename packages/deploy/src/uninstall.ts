// The process of the chart's pre-delete hook: uninstall.js NAMESPACE DAEMONSET SECONDS, in a pod, under its service account.
import { readFileSync } from 'node:fs';
import { removeDaemonSet } from './removal.js';

// Where the kubelet puts a pod's service account (Kubernetes, "Accessing the Kubernetes API from a Pod").
const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

const [namespace, name, seconds] = process.argv.slice(2);
const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = '443' } = process.env;
if (namespace === undefined || name === undefined || !(Number(seconds) > 0) || host === undefined) {
  console.error(
    'uninstall: needs the arguments NAMESPACE DAEMONSET SECONDS, in a pod whose service account is mounted',
  );
  process.exit(2);
}
try {
  const removal = await removeDaemonSet({
    server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    token: readFileSync(`${ACCOUNT}/token`, 'utf8').trim(),
    ca: readFileSync(`${ACCOUNT}/ca.crt`, 'utf8'),
    namespace,
    name,
    timeoutMs: Number(seconds) * 1000,
    say: (line) => console.log(line),
  });
  if (removal.outcome === 'gone') console.log('every agent has ended');
  else {
    console.error(
      `uninstall: after ${seconds} s, ${removal.nodes ?? 'some'} agents have not ended, perhaps because their nodes are not ready; ` +
        'repair or delete those nodes, or uninstall with --no-hooks and run `sluice cleanup` on them',
    );
    process.exitCode = 1;
  }
} catch (error) {
  console.error(`uninstall: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
