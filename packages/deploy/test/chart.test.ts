// The chart, rendered by the real Helm: every rendering is valid Kubernetes, the agent accepts its configuration,
// and the promises about privileges hold in each.
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as Duration from 'effect/Duration';
import * as Result from 'effect/Result';
import { resolveConfig as agentConfig, type AgentConfig } from '@sluice/ambient-agent';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { parse } from 'yaml';
import { chartPath, helmPath, renderChart, type RenderOptions } from '../src/index.js';
import { validateManifests } from './kubernetes-schema.js';

type Values = Record<string, unknown>;

const everything: Values = {
  profile: 'ambient',
  ambient: {
    enabled: true,
    dnsCapture: false,
    ipv6: false,
    enablementSelectors: [{ namespaceSelector: { matchLabels: { mesh: 'yes' } } }],
  },
  excludeNamespaces: ['kube-system', 'vault'],
  hub: 'registry.example/mesh',
  tag: 1.5,
  pullPolicy: 'Always',
  global: { imagePullSecrets: ['regcred'], platform: 'gke', imagePullPolicy: 'Never' },
  resources: { requests: { cpu: '50m', memory: '96Mi' }, limits: { memory: '300Mi' } },
  tolerations: [{ key: 'dedicated', operator: 'Equal', value: 'mesh', effect: 'NoSchedule' }],
  affinity: {
    nodeAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: {
        nodeSelectorTerms: [{ matchExpressions: [{ key: 'arch', operator: 'In', values: ['amd64'] }] }],
      },
    },
  },
  nodeSelector: { pool: 'mesh', 'kubernetes.io/os': 'windows' },
  podAnnotations: { team: 'mesh' },
  podLabels: { team: 'mesh', 'k8s-app': 'something-else' },
  env: { NODE_OPTIONS: '--max-old-space-size=200', VERBOSE: true, LEVEL: 3 },
  updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: '20%' } },
  seLinuxOptions: { level: 's0' },
  resourceQuotas: { enabled: true, pods: 100 },
  ztunnel: { namespace: 'mesh', labels: { app: 'zt', tier: 'data' }, serviceAccount: 'zt' },
  policy: { noZtunnel: 'open', pending: 'open' },
  probes: { exempt: 'host' },
  exclude: { outboundPorts: [53], outboundCIDRs: ['169.254.169.254/32', 'fd00::/8'] },
  kubelet: { names: ['kubelet'], cgroup: '/host/sys/fs/cgroup/system.slice/kubelet.service' },
  capacities: { cgroups: 100, exemptConnections: 1000 },
  sampling: 5,
  resyncInterval: '1m',
  log: { level: 'debug', format: 'pretty' },
  metrics: { listen: '[::1]:9999', scrapeAnnotations: false },
  host: { ztunnelDir: '/run/zt', runDir: '/var/lib/sluice' },
};

const renderings: readonly (RenderOptions & { readonly title: string })[] = [
  { title: 'the defaults' },
  { title: 'the issue’s install', values: { ambient: { enabled: true } } },
  { title: 'everything on', values: everything },
  { title: 'ambient.enabled=false', values: { ambient: { enabled: false } } },
  {
    title: 'as on OpenShift',
    values: { ambient: { enabled: true }, global: { platform: 'openshift' }, ztunnel: { namespace: 'ztunnel' } },
    namespace: 'istio-cni',
  },
  { title: 'without metrics and hook', values: { metrics: { listen: '' }, uninstall: { enabled: false } } },
  { title: 'Kubernetes 1.20', kubeVersion: '1.20.2' },
  { title: 'in kube-system', values: { global: { platform: 'gke' } }, namespace: 'kube-system', release: 'mesh' },
];

const OPENSHIFT_KINDS = ['security.openshift.io/v1/SecurityContextConstraints'];

interface Container {
  readonly image: string;
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
  readonly securityContext: Record<string, unknown> & { readonly capabilities: { add?: string[]; drop: string[] } };
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
  readonly readinessProbe?: { readonly exec: { readonly command: readonly string[] } };
  readonly livenessProbe?: { readonly httpGet: Record<string, unknown> };
  readonly ports?: unknown;
}
interface DaemonSet {
  readonly spec: {
    readonly selector: { readonly matchLabels: Record<string, string> };
    readonly updateStrategy: { readonly type: string; readonly rollingUpdate?: unknown };
    readonly template: {
      readonly metadata: { readonly labels: Record<string, string>; readonly annotations: Record<string, string> };
      readonly spec: Record<string, unknown> & {
        readonly containers: readonly [Container];
        readonly volumes: readonly { readonly name: string; readonly hostPath?: { readonly path: string } }[];
      };
    };
  };
}
interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

const helm = helmPath();
const label = helm === undefined ? ' [skipped: needs helm]' : '';

function rendered(options: RenderOptions) {
  const { objects, issues } = validateManifests(renderChart(options), OPENSHIFT_KINDS);
  const of = <T>(kind: string): T[] => objects.filter((object) => object['kind'] === kind) as T[];
  const [daemonSet] = of<DaemonSet>('DaemonSet');
  const [configMap] = of<{ data: Record<string, string> }>('ConfigMap');
  if (daemonSet === undefined || configMap === undefined) throw new Error('a DaemonSet and a ConfigMap are expected');
  const config = (): AgentConfig => Result.getOrThrow(agentConfig(parse(configMap.data['config.yaml'] ?? ''), 'chart'));
  return { objects, issues, of, daemonSet, container: daemonSet.spec.template.spec.containers[0], config };
}

/** Helm renders NOTES.txt only when it installs, so a copy of the chart shows it in a ConfigMap. */
function notes(values: Values): string {
  const chart = mkdtempSync(join(tmpdir(), 'sluice-notes-'));
  try {
    cpSync(chartPath, chart, { recursive: true });
    writeFileSync(join(chart, 'notes.tpl'), readFileSync(join(chart, 'templates/NOTES.txt')));
    const template = 'kind: ConfigMap\ndata:\n  notes: {{ tpl (.Files.Get "notes.tpl") . | toJson }}\n';
    writeFileSync(join(chart, 'templates/notes.yaml'), template);
    const { objects } = validateManifests(renderChart({ chart, values, hooks: false }));
    const found = objects.find(({ data }) => typeof data === 'object' && data !== null && 'notes' in data);
    if (found === undefined) throw new Error('the notes are not rendered');
    return (found['data'] as { notes: string }).notes;
  } finally {
    rmSync(chart, { recursive: true, force: true });
  }
}

/** The paths of the values that are not mappings. */
function* leaves(tree: unknown, below: (node: Values) => unknown, above = ''): Generator<string> {
  const inner = typeof tree === 'object' && tree !== null && !Array.isArray(tree) ? below(tree as Values) : undefined;
  if (inner === undefined) yield above;
  else for (const [name, child] of Object.entries(inner as Values)) yield* leaves(child, below, `${above}.${name}`);
}

it('has no value, and its schema has none, that no template uses', () => {
  const directory = join(chartPath, 'templates');
  const templates = readdirSync(directory).map((name) => readFileSync(join(directory, name), 'utf8'));
  const isUsed = (path: string): boolean => {
    const above = path.split('.').slice(1);
    const paths = above.map((_, index) => above.slice(0, index + 1).join('\\.'));
    return new RegExp(`\\.Values\\.(?:${paths.join('|')})(?![.\\w])`).test(templates.join('\n'));
  };
  const values = leaves(parse(readFileSync(join(chartPath, 'values.yaml'), 'utf8')), (node) => node);
  const schema = JSON.parse(readFileSync(join(chartPath, 'values.schema.json'), 'utf8')) as Values;
  const all = [...values, ...leaves(schema, ({ properties }) => properties)];
  expect(all.length).toBeGreaterThan(100);
  expect(all.filter((path) => !isUsed(path))).toEqual([]);
});

describe.skipIf(helm === undefined)(`the chart${label}`, () => {
  beforeAll(() => vi.stubEnv('NODE_NAME', 'node-1'));
  afterAll(() => vi.unstubAllEnvs());

  it.each(renderings)('renders valid manifests and a configuration that the agent accepts: $title', (options) => {
    const { issues, daemonSet, container, config } = rendered(options);
    expect(issues).toEqual([]);
    const { paths, inventory, mode } = config();
    expect({ mode, source: inventory.source }).toEqual({ mode: 'inPod', source: 'kubernetes' });

    // Every path that the configuration names is mounted.
    const mounted = container.volumeMounts.map(({ mountPath }) => mountPath);
    for (const path of [paths.proc, paths.bpffs, paths.runDir]) expect(mounted).toContain(path);
    const { volumes } = daemonSet.spec.template.spec;
    expect(container.volumeMounts.map(({ name }) => name).sort()).toEqual(volumes.map(({ name }) => name).sort());

    // The pods have the labels of the selector, and the one that istiod's untaint controller looks for.
    expect(daemonSet.spec.template.metadata.labels).toMatchObject({
      ...daemonSet.spec.selector.matchLabels,
      'k8s-app': 'istio-cni-node',
      'istio.io/dataplane-mode': 'none',
    });
  });

  it.each(renderings)('asks for named capabilities and no more: $title', (options) => {
    const { container, daemonSet, objects } = rendered(options);
    expect(container.securityContext).toMatchObject({
      privileged: false,
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      seccompProfile: { type: 'RuntimeDefault' },
      capabilities: { drop: ['ALL'], add: ['NET_ADMIN', 'NET_RAW', 'SYS_ADMIN', 'SYS_PTRACE'] },
    });
    expect(daemonSet.spec.template.spec).toMatchObject({ hostPID: true, hostNetwork: true });
    expect(JSON.stringify(objects)).not.toContain('"privileged":true');
    expect(JSON.stringify(objects)).not.toContain('Bidirectional');
  });

  it('grants what the agent does, and nothing else', () => {
    const { of } = rendered({});
    const rules = of<{ rules: Rule[] }>('ClusterRole').flatMap(({ rules }) => rules);
    expect(rules).toEqual([
      { apiGroups: [''], resources: ['pods'], verbs: ['get', 'list', 'watch'] },
      { apiGroups: [''], resources: ['namespaces'], verbs: ['list', 'watch'] },
      { apiGroups: [''], resources: ['pods/status'], verbs: ['patch'] },
      { apiGroups: [''], resources: ['events'], verbs: ['create'] },
    ]);
    const roles = of<{ metadata: { name: string }; rules: Rule[] }>('Role');
    const daemonSet = { apiGroups: ['apps'], resources: ['daemonsets'], resourceNames: ['sluice-node'] };
    expect(Object.fromEntries(roles.map(({ metadata, rules }) => [metadata.name, rules]))).toEqual({
      sluice: [{ ...daemonSet, verbs: ['get'] }],
      'sluice-uninstall': [{ ...daemonSet, verbs: ['get', 'delete'] }],
    });
  });

  it('lets two agents of a node overlap: a surge, no port that only one pod can have, and a socket of their own', () => {
    const { container, daemonSet, config } = rendered({});
    const { spec } = daemonSet.spec.template;
    expect(daemonSet.spec.updateStrategy.rollingUpdate).toEqual({ maxSurge: 1, maxUnavailable: 0 });
    expect(container.ports).toBeUndefined();
    const { socket = '' } = config().metrics;
    expect(container.readinessProbe?.exec.command).toEqual(['/usr/local/bin/sluice-ready', socket]);
    const own = container.volumeMounts.find(({ mountPath }) => socket.startsWith(`${mountPath}/`));
    expect(spec.volumes.find(({ name }) => name === own?.name)).toMatchObject({ emptyDir: {} });
  });

  it.each([
    [{ maxUnavailable: 1 }, { maxUnavailable: 1 }],
    [{ maxUnavailable: '20%' }, { maxUnavailable: '20%' }],
    [{ maxSurge: '10%' }, { maxSurge: '10%', maxUnavailable: 0 }],
    [{ maxUnavailable: 0 }, { maxSurge: 1, maxUnavailable: 0 }],
  ])('has no surge beside unavailable nodes, which Kubernetes would refuse: %j', (rollingUpdate, expected) => {
    const { daemonSet } = rendered({ values: { updateStrategy: { rollingUpdate } } });
    expect(daemonSet.spec.updateStrategy).toEqual({ type: 'RollingUpdate', rollingUpdate: expected });
  });

  it('has no rolling update with OnDelete', () => {
    const { daemonSet } = rendered({ values: { updateStrategy: { type: 'OnDelete' } } });
    expect(daemonSet.spec.updateStrategy).toEqual({ type: 'OnDelete' });
  });

  it('enrols nothing while ambient.enabled is false', () => {
    expect(rendered({}).config().enablementSelectors).toEqual([]);
    for (const values of [{ ambient: { enabled: true } }, { profile: 'ambient' }]) {
      expect(rendered({ values }).config().enablementSelectors).toEqual(
        Result.getOrThrow(agentConfig({}, 'nothing')).enablementSelectors,
      );
    }
  });

  it('writes the agent’s own defaults, except for paths and for what is different in Kubernetes', () => {
    const { inventory, paths, metrics, nodeName, lock, ...chart } = rendered({
      values: { ambient: { enabled: true } },
    }).config();
    const {
      inventory: i,
      paths: p,
      metrics: m,
      nodeName: n,
      lock: l,
      ...own
    } = Result.getOrThrow(agentConfig({}, 'nothing'));
    expect(chart).toEqual(own);
    expect(metrics).toEqual({ listen: { host: '0.0.0.0', port: 15014 }, socket: '/run/sluice-agent/metrics.sock' });
    expect([lock, l]).toEqual(['wait', 'fail']);
    expect([nodeName, inventory.source, paths.proc]).toEqual(['node-1', 'kubernetes', '/host/proc']);
    expect([typeof n, i.source, p.proc, m.listen]).toEqual(['string', 'static', '/proc', undefined]);
  });

  it('carries every value to its place', () => {
    const { container, daemonSet, config, of } = rendered({ values: everything });
    expect(config()).toMatchObject({
      enablementSelectors: [{ namespaceSelector: { matchLabels: { mesh: 'yes' } } }],
      excludeNamespaces: ['kube-system', 'vault'],
      ztunnel: { namespace: 'mesh', labels: { app: 'zt', tier: 'data' }, serviceAccount: 'zt' },
      policy: { noZtunnel: 'open', pending: 'open' },
      probes: { exempt: 'host' },
      ambient: { dnsCapture: false, ipv6: false },
      exclude: { outboundPorts: [53], outboundCIDRs: ['169.254.169.254/32', 'fd00::/8'] },
      kubelet: { names: ['kubelet'], cgroup: '/host/sys/fs/cgroup/system.slice/kubelet.service' },
      capacities: { cgroups: 100, exemptConnections: 1000 },
      sampling: 5,
      resyncInterval: Duration.minutes(1),
      log: { level: 'debug', format: 'pretty' },
      metrics: { listen: { host: '::1', port: 9999 } },
      zds: { socket: '/run/zt/ztunnel.sock' },
    });
    expect(container.image).toBe('registry.example/mesh/sluice:1.5');
    expect(container.env).toContainEqual({ name: 'LEVEL', value: '3' });
    expect(container.livenessProbe?.httpGet).toMatchObject({ host: '::1', port: 9999 });
    const { metadata, spec } = daemonSet.spec.template;
    expect(metadata.labels).toMatchObject({ team: 'mesh', 'k8s-app': 'istio-cni-node' });
    expect(metadata.annotations['prometheus.io/scrape']).toBeUndefined();
    expect(spec['nodeSelector']).toEqual({ pool: 'mesh', 'kubernetes.io/os': 'linux' });
    expect(spec.volumes.find(({ name }) => name === 'run')?.hostPath?.path).toBe('/var/lib/sluice');
    expect(of<{ spec: { hard: unknown } }>('ResourceQuota').map(({ spec }) => spec.hard)).toEqual([{ pods: '100' }]);
  });

  it('rolls the agents when the configuration changes, and only then', () => {
    const checksum = (values: Values): unknown =>
      rendered({ values }).daemonSet.spec.template.metadata.annotations['sluice/config'];
    expect(checksum({ policy: { pending: 'open' } })).not.toBe(checksum({}));
    expect(checksum({ uninstall: { timeoutSeconds: 60 } })).toBe(checksum({}));
  });

  it('turns AppArmor off in the place where each Kubernetes looks for it', () => {
    const old = rendered({ kubeVersion: '1.29.9' });
    const since = rendered({ kubeVersion: '1.30.0' });
    const annotation = 'container.apparmor.security.beta.kubernetes.io/agent';
    expect(old.daemonSet.spec.template.metadata.annotations[annotation]).toBe('unconfined');
    expect(old.container.securityContext['appArmorProfile']).toBeUndefined();
    expect(since.daemonSet.spec.template.metadata.annotations[annotation]).toBeUndefined();
    expect(since.container.securityContext['appArmorProfile']).toEqual({ type: 'Unconfined' });
  });

  it('brings its own constraints to OpenShift, which allow exactly what the DaemonSet asks for', () => {
    const { of, container } = rendered({ values: { global: { platform: 'openshift' } } });
    const [constraints] = of<Record<string, unknown>>('SecurityContextConstraints');
    expect(constraints).toMatchObject({
      allowPrivilegedContainer: false,
      allowedCapabilities: container.securityContext.capabilities.add,
      readOnlyRootFilesystem: true,
    });
    expect(container.securityContext['seLinuxOptions']).toEqual({ type: 'spc_t' });
  });

  it('says after an installation what to do next, and which settings are dangerous', () => {
    expect(notes({})).toContain('Nothing is enrolled, because ambient.enabled is false');
    const on = notes({ ambient: { enabled: true } });
    expect(on).toContain('kubectl label namespace NAME istio.io/dataplane-mode=ambient');
    expect(on).not.toMatch(/open|uninstall\.enabled/);
    const risky = { policy: { noZtunnel: 'open', pending: 'open' }, uninstall: { enabled: false } };
    for (const word of ['noZtunnel is open', 'pending is open', 'uninstall.enabled is false'])
      expect(notes(risky)).toContain(word);
  });

  it.each([
    ['a misspelt name', { ambient: { enable: true } }, 'enable'],
    ['a name of istio-cni’s that means nothing here', { cniBinDir: '/opt/cni/bin' }, 'cniBinDir'],
    ['a misspelt name in global', { global: { taag: '1' } }, 'taag'],
    ['a text where a switch is expected', { ambient: { enabled: 'yes' } }, 'ambient.enabled'],
    ['a policy that does not exist', { policy: { pending: 'drop' } }, 'policy.pending'],
    ['a platform that does not exist', { global: { platform: 'openshfit' } }, 'global.platform'],
    [
      'a selector operator that does not exist',
      {
        ambient: { enablementSelectors: [{ podSelector: { matchExpressions: [{ key: 'a', operator: 'NotEqual' }] } }] },
      },
      'operator',
    ],
    ['a duration without a unit', { policy: { holdLimit: 10 } }, 'policy.holdLimit'],
    ['a duration of nothing', { resyncInterval: '0s' }, 'resyncInterval'],
    ['a relative path', { host: { runDir: 'run' } }, 'host.runDir'],
    ['a port that is none', { exclude: { outboundPorts: [70_000] } }, 'exclude.outboundPorts'],
  ])('refuses %s, by name', (_, values, name) => {
    expect(() => renderChart({ values })).toThrow(name);
  });
});
