// The resources that the API double knows: enough for a node agent. To add one, add a row.
import * as Schema from 'effect/Schema';

const text = Schema.optionalKey(Schema.String);
const texts = Schema.optionalKey(Schema.Record(Schema.String, Schema.String));
/** With whatever members there are beside these. */
const object = <Fields extends Schema.Struct.Fields>(fields: Fields) =>
  Schema.StructWithRest(Schema.Struct(fields), [Schema.Record(Schema.String, Schema.Unknown)]);

/** What an object is made from. */
export const ObjectTemplate = object({ metadata: object({ name: Schema.String, namespace: text }) });
export type ObjectTemplate = typeof ObjectTemplate.Type;

const identity = { name: Schema.String, namespace: text, uid: Schema.String, resourceVersion: Schema.String };

/** An object as it is on the wire. */
export const ApiObject = object({
  apiVersion: text,
  kind: text,
  metadata: object({ ...identity, labels: texts, annotations: texts }),
});
export type ApiObject = typeof ApiObject.Type;
export const isApiObject = Schema.is(ApiObject);

/** Where an object is: its namespace, unless its kind has none, and its name. */
export const ObjectPlace = Schema.Struct({ namespace: text, name: Schema.String });
export type ObjectPlace = typeof ObjectPlace.Type;

export interface Resource {
  /** '' is the core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly hasStatus: boolean;
  /** What `fieldSelector` may name besides metadata.name and metadata.namespace. */
  readonly selectableFields: readonly string[];
}

export const RESOURCES: readonly Resource[] = [
  {
    group: '',
    version: 'v1',
    plural: 'pods',
    kind: 'Pod',
    namespaced: true,
    hasStatus: true,
    // pkg/apis/core/v1/conversion.go, AddFieldLabelConversionsForPod
    selectableFields: [
      'spec.nodeName',
      'spec.serviceAccountName',
      'spec.restartPolicy',
      'status.phase',
      'status.podIP',
    ],
  },
  {
    group: '',
    version: 'v1',
    plural: 'namespaces',
    kind: 'Namespace',
    namespaced: false,
    hasStatus: true,
    selectableFields: ['status.phase'],
  },
  { group: '', version: 'v1', plural: 'nodes', kind: 'Node', namespaced: false, hasStatus: true, selectableFields: [] },
  {
    group: '',
    version: 'v1',
    plural: 'events',
    kind: 'Event',
    namespaced: true,
    hasStatus: false,
    selectableFields: ['involvedObject.uid', 'involvedObject.name', 'reason', 'type'],
  },
  {
    group: 'apps',
    version: 'v1',
    plural: 'daemonsets',
    kind: 'DaemonSet',
    namespaced: true,
    hasStatus: true,
    selectableFields: [],
  },
];

export function resourceOf(kind: string): Resource {
  const found = RESOURCES.find((resource) => resource.kind === kind);
  if (found === undefined) throw new Error(`the API double has no kind ${kind}; add a row to resources.ts`);
  return found;
}

/** `v1` or `apps/v1`. */
export function apiVersion({ group, version }: Resource): string {
  return group === '' ? version : `${group}/${version}`;
}

/** `pods`, or `daemonsets.apps`, as error messages name it. */
export function qualifiedName({ group, plural }: Resource): string {
  return group === '' ? plural : `${plural}.${group}`;
}

/** What a request's path asks for. */
export interface Target {
  readonly resource: Resource;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly subresource: string | undefined;
}

const PATH =
  /^\/(?:api|apis\/(?<group>[^/]+))\/(?<version>v[^/]+)(?:\/namespaces\/(?<namespace>[^/]+)(?=\/[^/]))?\/(?<plural>[^/]+)(?:\/(?<name>[^/]+)(?:\/(?<subresource>[^/]+))?)?$/;

/** undefined for a path that is not a resource of the double. */
export function parsePath(path: string): Target | undefined {
  const subresourceOfNamespace = /^\/api\/v1\/namespaces\/([^/]+)\/(status|finalize)$/.exec(path);
  if (subresourceOfNamespace !== null) {
    const [, name, subresource] = subresourceOfNamespace;
    return { resource: resourceOf('Namespace'), namespace: undefined, name, subresource };
  }
  const { group = '', version, namespace, plural, name, subresource } = PATH.exec(path)?.groups ?? {};
  const resource = RESOURCES.find(
    (candidate) => candidate.group === group && candidate.version === version && candidate.plural === plural,
  );
  if (resource === undefined || (namespace !== undefined && !resource.namespaced)) return undefined;
  if (subresource !== undefined && !(subresource === 'status' && resource.hasStatus)) return undefined;
  if (resource.namespaced && namespace === undefined && name !== undefined) return undefined;
  return { resource, namespace, name, subresource };
}
