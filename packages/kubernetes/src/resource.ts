// The resources that the agent reads and writes, and the check of an object's identity.

export interface ApiResource {
  readonly apiVersion: string;
  readonly kind: string;
  /** The path of the whole collection. */
  readonly path: string;
}

export const PODS: ApiResource = { apiVersion: 'v1', kind: 'Pod', path: '/api/v1/pods' };
export const NAMESPACES: ApiResource = { apiVersion: 'v1', kind: 'Namespace', path: '/api/v1/namespaces' };
export const NODES: ApiResource = { apiVersion: 'v1', kind: 'Node', path: '/api/v1/nodes' };

/** Which objects of a collection; all of them if nothing is given. */
export interface Selectors {
  readonly fieldSelector?: string | undefined;
  readonly labelSelector?: string | undefined;
}

/** An object as it was received. Only its identity is checked. */
export interface ApiObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly uid: string;
    readonly name: string;
    readonly namespace?: string;
    readonly resourceVersion?: string;
    readonly [field: string]: unknown;
  };
  readonly [field: string]: unknown;
}

/** Undefined if the value has no identity. Adds the type, which the items of a list do not have. */
export function asObject(value: unknown, { apiVersion, kind }: ApiResource): ApiObject | undefined {
  if (!isRecord(value)) return undefined;
  const { metadata } = value;
  return hasIdentity(metadata) ? { ...value, apiVersion, kind, metadata } : undefined;
}

function hasIdentity(metadata: unknown): metadata is ApiObject['metadata'] {
  if (!isRecord(metadata)) return false;
  const { uid, name, namespace, resourceVersion } = metadata;
  return (
    [uid, name].every((text) => typeof text === 'string' && text !== '') &&
    [namespace, resourceVersion].every((text) => text === undefined || typeof text === 'string')
  );
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Whether `version` is not after `position`; false if they cannot be compared. Revisions are etcd's: one counter
 * for all objects, ordered as numbers (Kubernetes declares that since 1.35, and it was never different before). */
export function isNotAfter(version: string | undefined, position: string | undefined): boolean {
  if (version === undefined || position === undefined) return false;
  if (!/^\d+$/.test(version) || !/^\d+$/.test(position)) return false;
  return version.length === position.length ? version <= position : version.length < position.length;
}
