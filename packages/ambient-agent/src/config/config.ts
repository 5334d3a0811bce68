// The agent's configuration with every default filled in: what the rest of the agent reads.
import { hostname } from 'node:os';
import { defaultCapacities, type Capacities } from '@sluice/datapath';
import type { LogLevel } from './log-levels.js';
import type { ConfigFile, EnablementSelector } from './schema.js';

/** Istio's opt-in label, on namespaces and pods. */
export const DATAPLANE_MODE_LABEL = 'istio.io/dataplane-mode';

/** Where ztunnel listens; see docs/architecture.md. */
export type Mode = 'node' | 'inPod';

export interface AgentConfig {
  /** `node`: ztunnel in a pod of its own. `inPod`: ztunnel listens in the network namespace of each meshed pod. */
  readonly mode: Mode;
  /** Pods with this `spec.nodeName` are ours. */
  readonly nodeName: string;
  readonly inventory: {
    /** `static`: manifests in the directory. `kubernetes`: the API. */
    readonly source: 'static' | 'kubernetes';
    readonly directory: string;
    /** For the API; undefined: KUBECONFIG, else the pod's own service account, else ~/.kube/config. */
    readonly kubeconfig: string | undefined;
    /** A watch on which nothing comes for so long, in milliseconds, is begun again. */
    readonly watchSilenceMs: number;
  };
  /** A pod that matches any of them is wanted in the mesh. */
  readonly enablementSelectors: readonly EnablementSelector[];
  readonly excludeNamespaces: readonly string[];
  readonly ztunnel: {
    readonly namespace: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly serviceAccount: string;
    /** Whether a socket marked 0x539 (mask 0xfff) counts as ztunnel's, whatever its cgroup is. */
    readonly byMark: boolean;
  };
  readonly policy: {
    readonly noZtunnel: 'closed' | 'open';
    /** What happens to connections of a pod that is wanted in the mesh and that ztunnel has not acknowledged yet. */
    readonly pending: 'hold' | 'open';
  };
  /** The socket at which ztunnel asks which pods to serve; `inPod` mode only. */
  readonly zds: { readonly socket: string };
  /** Whose connections from the host to a meshed pod do not go through ztunnel: the kubelet's, or every process's. */
  readonly probes: { readonly exempt: 'kubelet' | 'host' };
  /** What istio-cni calls `ambient.dnsCapture` and `ambient.ipv6`; `inPod` mode only. */
  readonly ambient: { readonly dnsCapture: boolean; readonly ipv6: boolean };
  /** What every pod reaches without the mesh. */
  readonly exclude: { readonly outboundPorts: readonly number[]; readonly outboundCIDRs: readonly string[] };
  readonly paths: {
    readonly proc: string;
    /** Where pods are looked for and programs are attached; undefined = the cgroup2 mount. */
    readonly cgroupRoot: string | undefined;
    readonly bpffs: string;
    /** Holds the lock and the state file. */
    readonly runDir: string;
    /** The file of the host's network namespace; undefined = pid 1's. */
    readonly hostNetns: string | undefined;
  };
  readonly kubelet: {
    /** Names (comm) by which kubelets are recognised. */
    readonly names: readonly string[];
    /** The kubelet's cgroup directory, when it is known; nothing is searched for then. */
    readonly cgroup: string | undefined;
  };
  /** Most entries of each kind that the datapath's maps take. A full map refuses an enrolment, loudly. */
  readonly capacities: Capacities;
  /** One decision in this many goes to the ring buffer; 0 = none. */
  readonly sampling: number;
  readonly resyncIntervalMs: number;
  readonly log: { readonly level: LogLevel; readonly format: 'json' | 'pretty' };
  readonly metrics: { readonly listen: { readonly host: string; readonly port: number } | undefined };
}

/** istio-cni's default (manifests/charts/istio-cni/values.yaml): the pod's own label, or the namespace's unless the pod says none. */
export const defaultEnablementSelectors: readonly EnablementSelector[] = [
  { podSelector: { matchLabels: { [DATAPLANE_MODE_LABEL]: 'ambient' } } },
  {
    podSelector: { matchExpressions: [{ key: DATAPLANE_MODE_LABEL, operator: 'NotIn', values: ['none'] }] },
    namespaceSelector: { matchLabels: { [DATAPLANE_MODE_LABEL]: 'ambient' } },
  },
];

const DEFAULT_RESYNC_MS = 30_000;

// Twice the time between two bookmarks of an API server (apiserver/pkg/storage/cacher/cacher.go).
const DEFAULT_WATCH_SILENCE_MS = 120_000;

/** Where ztunnel looks unless INPOD_UDS tells it otherwise (ztunnel src/config.rs). */
const DEFAULT_ZDS_SOCKET = '/var/run/ztunnel/ztunnel.sock';

/** Fields that need more than a schema: parsed already by load.ts. */
export interface ParsedFields {
  readonly resyncIntervalMs: number | undefined;
  readonly watchSilenceMs: number | undefined;
  readonly listen: { readonly host: string; readonly port: number } | undefined;
  readonly outboundCIDRs: readonly string[];
}

/** Fills in the defaults. Pure, but for the machine's host name, which stands in for an absent node name. */
export function withDefaults(file: ConfigFile, parsed: ParsedFields, env: NodeJS.ProcessEnv): AgentConfig {
  return {
    mode: file.mode ?? 'inPod',
    nodeName: file.nodeName ?? env['NODE_NAME'] ?? hostname(),
    inventory: {
      source: file.inventory?.source ?? 'static',
      directory: file.inventory?.directory ?? '/etc/sluice/inventory',
      kubeconfig: file.inventory?.kubeconfig,
      watchSilenceMs: parsed.watchSilenceMs ?? DEFAULT_WATCH_SILENCE_MS,
    },
    enablementSelectors: file.enablementSelectors ?? defaultEnablementSelectors,
    excludeNamespaces: file.excludeNamespaces ?? ['kube-system'],
    ztunnel: {
      namespace: file.ztunnel?.namespace ?? 'istio-system',
      labels: file.ztunnel?.labels ?? { app: 'ztunnel' },
      serviceAccount: file.ztunnel?.serviceAccount ?? 'ztunnel',
      byMark: file.ztunnel?.byMark ?? false,
    },
    policy: { noZtunnel: file.policy?.noZtunnel ?? 'closed', pending: file.policy?.pending ?? 'hold' },
    zds: { socket: file.zds?.socket ?? DEFAULT_ZDS_SOCKET },
    probes: { exempt: file.probes?.exempt ?? 'kubelet' },
    ambient: { dnsCapture: file.ambient?.dnsCapture ?? true, ipv6: file.ambient?.ipv6 ?? true },
    exclude: { outboundPorts: file.exclude?.outboundPorts ?? [], outboundCIDRs: parsed.outboundCIDRs },
    paths: {
      proc: file.paths?.proc ?? '/proc',
      cgroupRoot: file.paths?.cgroupRoot,
      bpffs: file.paths?.bpffs ?? '/sys/fs/bpf',
      runDir: file.paths?.runDir ?? '/run/sluice',
      hostNetns: file.paths?.hostNetns,
    },
    kubelet: {
      names: file.kubelet?.names ?? ['kubelet', 'kubelite', 'k3s', 'k3s-server', 'k3s-agent', 'rke2'],
      cgroup: file.kubelet?.cgroup,
    },
    capacities: { ...defaultCapacities, ...file.capacities },
    sampling: file.sampling ?? 0,
    resyncIntervalMs: parsed.resyncIntervalMs ?? DEFAULT_RESYNC_MS,
    log: { level: file.log?.level ?? 'info', format: file.log?.format ?? 'json' },
    metrics: { listen: parsed.listen },
  };
}
