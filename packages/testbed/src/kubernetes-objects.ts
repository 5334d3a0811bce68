// The few Kubernetes objects that the testbed writes, and how they are written as YAML.

export type QosClass = 'guaranteed' | 'burstable' | 'besteffort';
export type PodPhase = 'Pending' | 'Running' | 'Succeeded' | 'Failed';

/** An ordinary Kubernetes object; its parts are plain JSON. */
export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly [key: string]: unknown;
  };
  readonly [key: string]: unknown;
}

export function namespaceObject(name: string, labels: Readonly<Record<string, string>>): KubernetesObject {
  return {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name, labels: { 'kubernetes.io/metadata.name': name, ...labels } },
    status: { phase: 'Active' },
  };
}

/** Block-style YAML; keys and strings are quoted as JSON quotes them, which YAML 1.2 reads. */
export function toYaml(value: unknown, indent = ''): string {
  if (Array.isArray(value)) {
    if (value.length === 0) return `${indent}[]\n`;
    return value.map((item) => `${indent}- ${toYaml(item, `${indent}  `).trimStart()}`).join('');
  }
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).filter(([, item]) => item !== undefined);
    if (entries.length === 0) return `${indent}{}\n`;
    return entries
      .map(
        ([key, item]) =>
          `${indent}${plainKey(key)}:${isBlock(item) ? `\n${toYaml(item, `${indent}  `)}` : ` ${toYaml(item).trim()}\n`}`,
      )
      .join('');
  }
  return `${indent}${JSON.stringify(value)}\n`;
}

function isBlock(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length > 0;
}

function plainKey(key: string): string {
  return /^[A-Za-z][\w./-]*$/.test(key) ? key : JSON.stringify(key);
}
