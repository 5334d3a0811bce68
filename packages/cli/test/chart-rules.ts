// The rights that the chart gives the agent's service account, read from the rendered manifest.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments } from 'yaml';

export interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly namespaces?: readonly string[];
}

const MANIFEST = fileURLToPath(new URL('../../../deploy/manifest.yaml', import.meta.url));

interface Role {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly rules: readonly Rule[];
}

export function chartRules(): Rule[] {
  const objects = parseAllDocuments(readFileSync(MANIFEST, 'utf8')).map((document) => document.toJS() as Role);
  return objects.flatMap(({ kind, metadata, rules }) => {
    if (metadata.name !== 'sluice') return [];
    if (kind === 'ClusterRole') return rules;
    return kind === 'Role' ? rules.map((rule) => ({ ...rule, namespaces: [metadata.namespace ?? ''] })) : [];
  });
}
