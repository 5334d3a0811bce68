// Prints the memory that copies of 5000 namespaces and a node's 250 pods need. Build first; then: node packages/kubernetes/test/memory.mjs
import * as Effect from 'effect/Effect';
import { KubernetesApiProcess } from '@sluice/testbed';
import { ApiClient, NAMESPACES, PODS, reflect } from '../dist/index.js';

const [NAMESPACE_COUNT, POD_COUNT] = [5000, 250];
const labels = (index) => ({
  'kubernetes.io/metadata.name': `tenant-${index}`,
  'istio.io/dataplane-mode': index % 2 === 0 ? 'ambient' : 'none',
  'pod-security.kubernetes.io/enforce': 'baseline',
});

/** The fields that a server adds to every object. */
const managedFields = (fields) => [
  { manager: 'kubectl', operation: 'Update', apiVersion: 'v1', time: '2026-01-01T00:00:00Z', fieldsV1: fields },
];

const api = await KubernetesApiProcess.start();
for (let index = 0; index < NAMESPACE_COUNT; index += 1)
  await api.call('create', 'Namespace', {
    metadata: { name: `tenant-${index}`, labels: labels(index), managedFields: managedFields({ 'f:metadata': {} }) },
    spec: { finalizers: ['kubernetes'] },
    status: { phase: 'Active' },
  });
for (let index = 0; index < POD_COUNT; index += 1)
  await api.call('create', 'Pod', {
    metadata: { name: `pod-${index}`, namespace: `tenant-${index}`, labels: { app: `app-${index}`, ...labels(index) } },
    spec: {
      nodeName: 'node-a',
      serviceAccountName: 'default',
      // 10 KB, about as much as four containers have in practice.
      containers: Array.from({ length: 4 }, (_, number) => ({
        name: `container-${number}`,
        image: `registry.example.com/team/application-${number}@sha256:${'0'.repeat(64)}`,
        env: Array.from({ length: 25 }, (_unused, of) => ({
          name: `SETTING_${of}`,
          value: `${'value'.repeat(8)}-${of}`,
        })),
      })),
    },
    status: { phase: 'Running', podIP: `10.0.0.${index % 250}`, podIPs: [{ ip: `10.0.0.${index % 250}` }] },
  });

const rss = () => {
  globalThis.gc?.();
  return process.memoryUsage().rss / 2 ** 20;
};
const before = rss();
const started = performance.now();
const credentials = async () => ({ headers: { authorization: `Bearer ${api.adminToken}` }, tls: { ca: api.ca } });
const trim = ({ metadata, spec, status }) => ({
  name: metadata.name,
  namespace: metadata.namespace,
  labels: metadata.labels,
  nodeName: spec?.nodeName,
  ips: status?.podIPs,
});
const program = Effect.gen(function* () {
  const client = yield* ApiClient.open({ server: api.url, credentials, renew() {} });
  const all = [
    yield* reflect({ client, resource: NAMESPACES, trim }),
    yield* reflect({ client, resource: PODS, fieldSelector: 'spec.nodeName=node-a', trim }),
  ];
  yield* Effect.all(all.map(({ synced }) => synced));
  const took = performance.now() - started;
  process.stdout.write(
    `${all.map(({ objects }) => objects.size).join(' namespaces, ')} pods: ${took.toFixed(0)} ms to the whole copy, ` +
      `resident memory ${before.toFixed(0)} -> ${rss().toFixed(0)} MB, ` +
      `heap ${(process.memoryUsage().heapUsed / 2 ** 20).toFixed(0)} MB\n`,
  );
});
await Effect.runPromise(Effect.scoped(program));
await api.close();
