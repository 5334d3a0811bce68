// Who a bearer token is, and what its rules allow (rbac/v1 PolicyRule; authorization/rbac/rbac.go).
import type { Target } from './resources.js';

/** One rule of a Role or ClusterRole, in its own words. */
export interface PolicyRule {
  readonly apiGroups: readonly string[];
  /** `pods`, `pods/status`, `*`. A subresource is not covered by its resource. */
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
  /** Only these objects; then list and watch are allowed with `fieldSelector=metadata.name=...` alone. */
  readonly resourceNames?: readonly string[];
  /** Only in these namespaces, as a RoleBinding there would do. */
  readonly namespaces?: readonly string[];
}

export interface User {
  readonly name: string;
  /** undefined allows everything, as cluster-admin. */
  readonly rules?: readonly PolicyRule[];
}

export interface Asked extends Omit<Target, 'name'> {
  readonly verb: string;
  readonly name: string | undefined;
}

export function isAllowed({ rules }: User, asked: Asked): boolean {
  if (rules === undefined) return true;
  const { resource, subresource, verb, name, namespace } = asked;
  const what = subresource === undefined ? resource.plural : `${resource.plural}/${subresource}`;
  return rules.some(
    (rule) =>
      has(rule.apiGroups, resource.group) &&
      (has(rule.resources, what) || (subresource !== undefined && rule.resources.includes(`*/${subresource}`))) &&
      has(rule.verbs, verb) &&
      (rule.resourceNames === undefined || (name !== undefined && rule.resourceNames.includes(name))) &&
      (rule.namespaces === undefined || (namespace !== undefined && rule.namespaces.includes(namespace))),
  );
}

function has(list: readonly string[], item: string): boolean {
  return list.includes(item) || list.includes('*');
}
