// Every setting, in the order of the documents. Only this file says its name, type, default and meaning, and where it is in
// the chart; `npm run generate` writes them to deploy/sluice.yaml, docs/configuration.md and the chart.
import { hostname } from 'node:os';
import { defaultCapacities, isInForceLater, type Capacities } from '@sluice/datapath';
import * as Effect from 'effect/Effect';
import * as Record from 'effect/Record';
import * as Schema from 'effect/Schema';
import { notInChart, optional, section, setting } from './declare.js';
import { logLevels } from './log-levels.js';
import {
  cidr,
  count,
  duration,
  durationOrNone,
  EnablementSelector,
  formerlyClosed,
  listenAddress,
  port,
  logsPath,
  socketPath,
  someLabels,
  text,
  waiting,
} from './schema.js';

/** Istio's opt-in label, on namespaces and pods. */
const DATAPLANE_MODE_LABEL = 'istio.io/dataplane-mode';

const isEnrolled = { matchLabels: { [DATAPLANE_MODE_LABEL]: 'ambient' } };
const isNotExempt = { matchExpressions: [{ key: DATAPLANE_MODE_LABEL, operator: 'NotIn', values: ['none'] }] } as const;

const nameOfThisNode = Effect.sync(() => process.env['NODE_NAME'] || hostname());

/** What the datapath's maps limit, by the names of their capacities. */
const limited: Readonly<Record<keyof Capacities, string>> = {
  cgroups: 'cgroups of pods',
  netns: 'network namespaces of pods',
  localPods: 'IPs of pods on this node',
  ownAddresses:
    'addresses in the network namespaces of meshed pods, their IPs among them, and of devices that have one',
  pods: 'pods on this node, those that have ended and are not deleted included',
  excludedPorts: 'rules about ports, of all pods together',
  excludedCIDRs: 'rules about ranges of addresses, of all pods together',
  pendingConnections: 'redirected connections between SYN and accept, on the whole node',
  exemptConnections: 'connections past the inbound capture that have not been accepted yet',
};

const LATER =
  'On a node where Sluice runs already, another number is in force once the node has restarted; until then `sluice status` says so.';

export const settings = section('Every setting of Sluice at its default. All of them may be left out.', {
  mode: setting(Schema.Literals(['node', 'inPod']), 'inPod', {
    description:
      'Where ztunnel listens. inPod: in the network namespace of each meshed pod, as every ztunnel since Istio 1.23 does. node: in a pod of its own.',
    chart: { writes: 'inPod' },
  }),
  capture: setting(Schema.Literals(['route', 'rewrite']), 'route', {
    description:
      "inPod mode: how a meshed pod's connections reach ztunnel. route: a route in the pod brings them there with their destination unchanged; a pod for which that is not safe is captured by rewrite, and `sluice status` says why. rewrite: connect() is given ztunnel's address instead of the destination, for every pod.",
  }),
  nodeName: setting(text, nameOfThisNode, {
    description: "The node whose pods (by spec.nodeName) the agent enrols. Default: $NODE_NAME, or the host's name.",
    examples: ['node-1'],
    chart: notInChart,
  }),
  inventory: section('Where the agent reads what is wanted: Namespaces, and Pods with their status.', {
    source: setting(Schema.Literals(['static', 'kubernetes']), 'static', {
      description:
        'static: ordinary manifests in a directory, which is watched for changes. kubernetes: the API server, which is also told whether each pod is in the mesh.',
      chart: { writes: 'kubernetes' },
    }),
    directory: setting(text, '/etc/sluice/inventory', {
      description:
        'The directory of the manifests. Write them under another name, and rename them when they are complete.',
      chart: notInChart,
    }),
    kubeconfig: optional(text, {
      description:
        "The kubeconfig for the API server. Default: $KUBECONFIG, or the pod's service account, or ~/.kube/config.",
      examples: ['/etc/sluice/kubeconfig'],
      chart: notInChart,
    }),
    // Twice the time between two bookmarks of an API server (apiserver/pkg/storage/cacher/cacher.go).
    watchSilence: setting(duration, '120s', {
      description:
        'A watch of the API that receives nothing for this long is taken for dead and started again; servers send a bookmark every minute.',
      chart: notInChart,
    }),
  }),
  // istio-cni's (manifests/charts/istio-cni/values.yaml): the pod's own label, or the namespace's unless the pod says none.
  enablementSelectors: setting(
    Schema.Array(EnablementSelector),
    [{ podSelector: isEnrolled }, { podSelector: isNotExempt, namespaceSelector: isEnrolled }],
    {
      description: "A pod is wanted in the mesh if any of these matches it, by Istio's rules.",
      chart: { value: 'ambient.enablementSelectors', writes: '{{- include "sluice.enablementSelectors" . }}' },
    },
  ),
  excludeNamespaces: setting(Schema.Array(text), ['kube-system'], {
    description: 'Namespaces that are never in the mesh, whatever their labels.',
  }),
  ztunnel: section('How ztunnel is recognised.', {
    namespace: setting(text, 'istio-system', {
      description: "The namespace of ztunnel's pods; their labels and their service account must match as well.",
      chart: { schema: { minLength: 1 } },
    }),
    labels: setting(
      someLabels,
      { app: 'ztunnel' },
      { description: "Labels of ztunnel's pods.", chart: { schema: { minProperties: 1 } } },
    ),
    serviceAccount: setting(text, 'ztunnel', {
      description: "The service account of ztunnel's pods.",
      chart: { schema: { minLength: 1 } },
    }),
    byMark: setting(Schema.Boolean, false, {
      description:
        'Whether a socket marked 0x539 (mask 0xfff) counts as ztunnel, too. A pod with CAP_NET_ADMIN could then leave the mesh by marking its own sockets.',
      chart: notInChart,
    }),
  }),
  policy: section('What happens to connections that cannot go through ztunnel.', {
    noZtunnel: setting(formerlyClosed, 'hold', {
      description:
        'What happens to the new connections of a pod in the mesh, and to it, while no ztunnel listens for it. hold: they wait, and go on when ztunnel listens; where a connection cannot wait (node mode), it is refused. refuse (in earlier versions closed): they are refused. open: they go directly. The annotation sluice/waiting on a pod or a namespace overrides this in inPod mode.',
    }),
    pending: setting(waiting, 'hold', {
      description:
        'inPod mode: what happens to the new connections of a pod that is wanted in the mesh and is not in it yet, and to it, by the same words. The annotation sluice/waiting on a pod or a namespace overrides this.',
    }),
    holdLimit: setting(duration, '60s', {
      description:
        'inPod mode: a pod that has been pending, or without a ztunnel that listens, for longer than this has its connections refused instead of held.',
    }),
    unknown: setting(Schema.Literals(['hold', 'open']), 'hold', {
      description:
        'What happens to the connections of a new pod of a namespace in the mesh, out and in, while no agent has decided about it: hold refuses them, open lets them go directly.',
    }),
  }),
  zds: section('How ztunnel learns of its pods.', {
    // Where ztunnel looks unless INPOD_UDS tells it otherwise (ztunnel src/config.rs).
    socket: setting(socketPath, '/var/run/ztunnel/ztunnel.sock', {
      description: 'inPod mode: the socket at which ztunnel (its INPOD_UDS) asks which pods to serve.',
      chart: { writes: '{{ printf "%s/ztunnel.sock" .Values.host.ztunnelDir | quote }}' },
    }),
  }),
  probes: section('How the host reaches meshed pods.', {
    exempt: setting(Schema.Literals(['kubelet', 'host']), 'kubelet', {
      description:
        'Whose connections from the host to a meshed pod bypass ztunnel. kubelet: those of the kubelet. host: those of every process of the host, as with istio-cni.',
    }),
  }),
  ambient: section("What is done for meshed pods, by istio-cni's names.", {
    dnsCapture: setting(Schema.Boolean, true, {
      description:
        'inPod mode: whether DNS queries of meshed pods go to ztunnel. The annotation ambient.istio.io/dns-capture on a pod overrides this.',
    }),
    ipv6: setting(Schema.Boolean, true, { description: 'inPod mode: whether IPv6 is set up in the pods, too.' }),
    leaveGrace: setting(durationOrNone, '2s', {
      description:
        'inPod mode: how long a pod that is not wanted any more stays in the mesh after its announcement was withdrawn, so that its peers hear of it before ztunnel stops answering them. 0s: not at all.',
    }),
  }),
  exclude: section('What is never captured.', {
    outboundPorts: setting(Schema.Array(port), [], {
      description: "Ports that every pod reaches without the mesh, in addition to the pods' own annotations.",
    }),
    outboundCIDRs: setting(Schema.Array(cidr), [], {
      description:
        "Ranges of addresses that every pod reaches without the mesh, in addition to the pods' own annotations.",
    }),
  }),
  paths: section('Where things are.', {
    proc: setting(text, '/proc', {
      description:
        "Where proc is mounted. In a container this has to be the host's, because the container's own proc/sys is read-only.",
      chart: { writes: '/host/proc' },
    }),
    bpffs: setting(text, '/sys/fs/bpf', {
      description: 'The BPF file system that the datapath is pinned in, so that it outlives the agent.',
      chart: { writes: '/sys/fs/bpf' },
    }),
    runDir: setting(text, '/run/sluice', {
      description: "The directory of the agent's lock and state.",
      chart: { writes: '/run/sluice' },
    }),
    cgroupRoot: optional(text, {
      description:
        'The cgroup below which pods are looked for. Programs are attached to it or to cgroups in it. Default: the cgroup2 mount.',
      examples: ['/sys/fs/cgroup'],
      chart: notInChart,
    }),
    hostNetns: optional(text, {
      description: "The file of the host's network namespace. Default: that of pid 1.",
      examples: ['/proc/1/ns/net'],
      chart: notInChart,
    }),
  }),
  guard: section('How new pods are held while no agent has decided about them.', {
    podLogs: setting(logsPath, '/var/log/pods', {
      description:
        "The kubelet's podLogsDir, as the kubelet names it on the node. It is not opened: the names of new directories in it tell which pod belongs to which namespace.",
    }),
  }),
  kubelet: section('How the kubelet is recognised.', {
    names: setting(Schema.Array(text), ['kubelet', 'kubelite', 'k3s', 'k3s-server', 'k3s-agent', 'rke2'], {
      description: 'Names (comm) of the process that is the kubelet.',
      chart: { default: [] },
    }),
    cgroup: optional(text, {
      description:
        "The kubelet's cgroup directory as the agent sees it. If it is set, the agent does not search for the kubelet.",
      examples: ['/sys/fs/cgroup/system.slice/kubelet.service'],
      chart: { default: '' },
    }),
  }),
  capacities: section(
    "Sizes of the datapath's maps; for one that is left out the agent has a default.",
    Record.map(limited, (what, name) =>
      setting(count(1), defaultCapacities[name], {
        description:
          `The most ${what}. A pod or connection beyond that is held or refused, and the agent reports it.` +
          (isInForceLater(name) ? ` ${LATER}` : ''),
      }),
    ),
    { isOneValue: true },
  ),
  sampling: setting(count(0), 0, {
    description: 'One decision in this many is reported to `sluice watch --decisions`; 0 reports none.',
  }),
  lock: setting(Schema.Literals(['fail', 'wait']), 'fail', {
    description:
      'What an agent does that finds another one running on the same run directory. fail: it ends with an error. wait: it stands by, and takes over as soon as the other one ends.',
    chart: { writes: 'wait' },
  }),
  resyncInterval: setting(duration, '30s', {
    description: 'How often the agent looks at everything again without a hint.',
  }),
  log: section('What is logged, on standard output.', {
    level: setting(Schema.Literals(logLevels), 'info', { description: 'The lowest level that is logged.' }),
    format: setting(Schema.Literals(['json', 'pretty']), 'json', {
      description: 'json: one object per line. pretty: lines for people.',
    }),
  }),
  metrics: section('What others may ask the agent.', {
    listen: optional(listenAddress, {
      description:
        'The address at which /metrics, /healthz and /readyz are served; [::]:15014 suits nodes without IPv4. If it is left out, nothing listens, and in Kubernetes nothing probes the agent.',
      examples: ['127.0.0.1:15014'],
      chart: { default: '0.0.0.0:15014', schema: { pattern: '^$|:[0-9]{1,5}$' } },
    }),
    socket: optional(text, {
      description:
        'A Unix socket at which the same is served, also by an agent that stands by (`lock: wait`); `sluice-ready` asks there. Its directory must be this agent’s own.',
      examples: ['/run/sluice-agent/metrics.sock'],
      chart: { writes: '/run/sluice-agent/metrics.sock' },
    }),
  }),
});
