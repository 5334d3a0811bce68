// The configuration file as the operator writes it: every field optional, every section a struct of its own, so that the
// names that are allowed at each place can be told (unknown-keys.ts).
import { defaultCapacities } from '@sluice/datapath';
import * as Record from 'effect/Record';
import * as Schema from 'effect/Schema';
import { logLevels } from './log-levels.js';

const labels = Schema.Record(Schema.String, Schema.String);
const port = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 65535 }));
// sun_path of unix(7) has 108 bytes, the last of which is 0.
const LONGEST_SOCKET_PATH = 107;
const socketPath = Schema.String.check(
  Schema.makeFilter(
    (path) =>
      (path.startsWith('/') && Buffer.byteLength(path) <= LONGEST_SOCKET_PATH) ||
      `an absolute path of at most ${LONGEST_SOCKET_PATH} bytes is expected`,
  ),
);
// A text such as 30s, or seconds: load.ts reads it.
const duration = Schema.Union([Schema.Finite, Schema.String]);
const count = Schema.Int.check(Schema.isGreaterThan(0));

/** A Kubernetes label selector: every requirement of it must hold. */
export const LabelSelector = Schema.Struct({
  matchLabels: Schema.optionalKey(labels),
  matchExpressions: Schema.optionalKey(
    Schema.Array(
      Schema.Struct({
        key: Schema.String,
        operator: Schema.Literals(['In', 'NotIn', 'Exists', 'DoesNotExist']),
        values: Schema.optionalKey(Schema.Array(Schema.String)),
      }),
    ),
  ),
});
export type LabelSelector = typeof LabelSelector.Type;

/** One of istio-cni's `ambient.enablementSelectors`: a pod that matches both parts is in the mesh; an absent part matches all. */
export const EnablementSelector = Schema.Struct({
  podSelector: Schema.optionalKey(LabelSelector),
  namespaceSelector: Schema.optionalKey(LabelSelector),
});
export type EnablementSelector = typeof EnablementSelector.Type;

/** The sections, by name. */
export const sections = {
  inventory: Schema.Struct({
    source: Schema.optionalKey(Schema.Literals(['static', 'kubernetes'])),
    directory: Schema.optionalKey(Schema.String),
    kubeconfig: Schema.optionalKey(Schema.String),
    watchSilence: Schema.optionalKey(duration),
  }),
  ztunnel: Schema.Struct({
    namespace: Schema.optionalKey(Schema.String),
    labels: Schema.optionalKey(labels),
    serviceAccount: Schema.optionalKey(Schema.String),
    byMark: Schema.optionalKey(Schema.Boolean),
  }),
  policy: Schema.Struct({
    noZtunnel: Schema.optionalKey(Schema.Literals(['closed', 'open'])),
    pending: Schema.optionalKey(Schema.Literals(['hold', 'open'])),
  }),
  zds: Schema.Struct({ socket: Schema.optionalKey(socketPath) }),
  probes: Schema.Struct({ exempt: Schema.optionalKey(Schema.Literals(['kubelet', 'host'])) }),
  ambient: Schema.Struct({
    dnsCapture: Schema.optionalKey(Schema.Boolean),
    ipv6: Schema.optionalKey(Schema.Boolean),
  }),
  exclude: Schema.Struct({
    outboundPorts: Schema.optionalKey(Schema.Array(port)),
    outboundCIDRs: Schema.optionalKey(Schema.Array(Schema.String)),
  }),
  paths: Schema.Struct({
    proc: Schema.optionalKey(Schema.String),
    cgroupRoot: Schema.optionalKey(Schema.String),
    bpffs: Schema.optionalKey(Schema.String),
    runDir: Schema.optionalKey(Schema.String),
    hostNetns: Schema.optionalKey(Schema.String),
  }),
  kubelet: Schema.Struct({
    names: Schema.optionalKey(Schema.Array(Schema.String)),
    cgroup: Schema.optionalKey(Schema.String),
  }),
  capacities: Schema.Struct(Record.map(defaultCapacities, () => Schema.optionalKey(count))),
  log: Schema.Struct({
    level: Schema.optionalKey(Schema.Literals(logLevels)),
    format: Schema.optionalKey(Schema.Literals(['json', 'pretty'])),
  }),
  metrics: Schema.Struct({ listen: Schema.optionalKey(Schema.String) }),
};

const optionalSections = {
  inventory: Schema.optionalKey(sections.inventory),
  ztunnel: Schema.optionalKey(sections.ztunnel),
  policy: Schema.optionalKey(sections.policy),
  zds: Schema.optionalKey(sections.zds),
  probes: Schema.optionalKey(sections.probes),
  ambient: Schema.optionalKey(sections.ambient),
  exclude: Schema.optionalKey(sections.exclude),
  paths: Schema.optionalKey(sections.paths),
  kubelet: Schema.optionalKey(sections.kubelet),
  capacities: Schema.optionalKey(sections.capacities),
  log: Schema.optionalKey(sections.log),
  metrics: Schema.optionalKey(sections.metrics),
};

/** The whole file. */
export const ConfigFile = Schema.Struct({
  mode: Schema.optionalKey(Schema.Literals(['node', 'inPod'])),
  nodeName: Schema.optionalKey(Schema.String),
  enablementSelectors: Schema.optionalKey(Schema.Array(EnablementSelector)),
  excludeNamespaces: Schema.optionalKey(Schema.Array(Schema.String)),
  sampling: Schema.optionalKey(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))),
  resyncInterval: Schema.optionalKey(duration),
  ...optionalSections,
});
export type ConfigFile = typeof ConfigFile.Type;

/** The names allowed at the top, and those allowed in each section. */
export const allowedNames: { readonly top: readonly string[]; readonly sections: Record<string, readonly string[]> } = {
  top: Object.keys(ConfigFile.fields),
  sections: Object.fromEntries(Object.entries(sections).map(([name, { fields }]) => [name, Object.keys(fields)])),
};
