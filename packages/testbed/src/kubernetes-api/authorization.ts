// To whom a bearer token belongs, and what the rules allow (rbac/v1 PolicyRule; authorization/rbac/rbac.go).
import * as Schema from 'effect/Schema';
import type { Target } from './resources.js';

const strings = Schema.Array(Schema.String);

/** One rule of a Role or ClusterRole, in its own words. */
const PolicyRule = Schema.Struct({
  apiGroups: strings,
  /** `pods`, `pods/status`, `*`. A subresource is not covered by its resource. */
  resources: strings,
  verbs: strings,
  /** Only these objects; list and watch are then allowed only with `fieldSelector=metadata.name=...`. */
  resourceNames: Schema.optionalKey(strings),
  /** Only in these namespaces, like a RoleBinding there. */
  namespaces: Schema.optionalKey(strings),
});
export type PolicyRule = typeof PolicyRule.Type;

export const User = Schema.Struct({
  name: Schema.String,
  /** Everything is allowed if left out, as for cluster-admin. */
  rules: Schema.optionalKey(Schema.Array(PolicyRule)),
});
export type User = typeof User.Type;

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
