// Kubernetes objects, reduced to the fields that Sluice reads, and the set of them that is known at one moment.
import * as Schema from 'effect/Schema';

const stringMap = Schema.Record(Schema.String, Schema.String);
const phase = Schema.Literals(['Pending', 'Running', 'Succeeded', 'Failed', 'Unknown']);
const timestamp = Schema.String.check(
  Schema.makeFilter((text) => !Number.isNaN(Date.parse(text)) || 'a time such as 2026-01-31T10:00:00Z is expected'),
);

const metadata = {
  labels: Schema.optionalKey(Schema.NullOr(stringMap)),
  annotations: Schema.optionalKey(Schema.NullOr(stringMap)),
};

/** metadata, spec and status of a v1 Pod, as far as they are used. */
export const PodObject = Schema.Struct({
  kind: Schema.Literal('Pod'),
  metadata: Schema.Struct({
    ...metadata,
    uid: Schema.NonEmptyString,
    name: Schema.NonEmptyString,
    namespace: Schema.optionalKey(Schema.String),
    creationTimestamp: Schema.optionalKey(Schema.NullOr(timestamp)),
    deletionTimestamp: Schema.optionalKey(Schema.NullOr(timestamp)),
  }),
  spec: Schema.Struct({
    nodeName: Schema.optionalKey(Schema.NullOr(Schema.String)),
    hostNetwork: Schema.optionalKey(Schema.NullOr(Schema.Boolean)),
    hostUsers: Schema.optionalKey(Schema.NullOr(Schema.Boolean)),
    serviceAccountName: Schema.optionalKey(Schema.NullOr(Schema.String)),
    // network-admins.ts reads them: a container that is not understood must not keep its pod out of the mesh.
    containers: Schema.optionalKey(Schema.Unknown),
    initContainers: Schema.optionalKey(Schema.Unknown),
    ephemeralContainers: Schema.optionalKey(Schema.Unknown),
  }),
  status: Schema.optionalKey(
    Schema.Struct({
      phase: Schema.optionalKey(phase),
      podIP: Schema.optionalKey(Schema.NullOr(Schema.String)),
      podIPs: Schema.optionalKey(Schema.NullOr(Schema.Array(Schema.Struct({ ip: Schema.String })))),
      startTime: Schema.optionalKey(Schema.NullOr(timestamp)),
      conditions: Schema.optionalKey(
        Schema.NullOr(Schema.Array(Schema.Struct({ type: Schema.String, status: Schema.String }))),
      ),
    }),
  ),
});

/** A v1 Namespace, as far as it is used. */
export const NamespaceObject = Schema.Struct({
  kind: Schema.Literal('Namespace'),
  metadata: Schema.Struct({ ...metadata, name: Schema.NonEmptyString }),
});

/** A container that may change its pod's network namespace. */
export const NetworkAdmin = Schema.Struct({
  kind: Schema.Literals(['container', 'init container', 'ephemeral container']),
  /** '' if it has no name. */
  container: Schema.String,
  /** The capability that it adds, or `privileged`; `unknown` if its securityContext cannot be understood. */
  by: Schema.Literals(['privileged', 'NET_ADMIN', 'ALL', 'unknown']),
});
export type NetworkAdmin = typeof NetworkAdmin.Type;

export const Pod = Schema.Struct({
  uid: Schema.String,
  name: Schema.String,
  namespace: Schema.String,
  labels: stringMap,
  annotations: stringMap,
  isDeleting: Schema.Boolean,
  nodeName: Schema.optional(Schema.String),
  hostNetwork: Schema.Boolean,
  /** Whether it has a user namespace of its own (`hostUsers: false`). Undefined in what an earlier version kept. */
  hasOwnUsers: Schema.optional(Schema.Boolean),
  serviceAccount: Schema.String,
  /** Undefined if it is not known which containers there are, as in what an earlier version kept. */
  networkAdmins: Schema.optional(Schema.Array(NetworkAdmin)),
  phase,
  /** Canonical text; the first is the pod's primary address. */
  ips: Schema.Array(Schema.String),
  /** The addresses that no pod can have, as they were written. */
  badIps: Schema.Array(Schema.String),
  isReady: Schema.Boolean,
  /** The time of creation, or else of the start, in ms since the epoch; 0 if neither is known. */
  bornMs: Schema.Finite,
});
export type Pod = typeof Pod.Type;

export const Namespace = Schema.Struct({
  name: Schema.String,
  labels: stringMap,
  /** Absent if there is none that is read. */
  annotations: Schema.optionalKey(stringMap),
});
export type Namespace = typeof Namespace.Type;

/** What is wanted at one moment. */
export interface Inventory {
  /** By UID, because a pod that is recreated under its old name is another pod. */
  readonly pods: ReadonlyMap<string, Pod>;
  readonly namespaces: ReadonlyMap<string, Namespace>;
}

export const emptyInventory: Inventory = { pods: new Map(), namespaces: new Map() };

/** The containers of a terminal pod have ended for good. */
export function isTerminal(pod: Pod): boolean {
  return pod.phase === 'Succeeded' || pod.phase === 'Failed';
}

/** `namespace/name`, as kubectl users write it. */
export function podName(pod: { readonly namespace: string; readonly name: string }): string {
  return `${pod.namespace}/${pod.name}`;
}
