// Kubernetes label selectors, and istio-cni's enablement selectors built on them.
import type { EnablementSelector, LabelSelector } from '../config/schema.js';

type Labels = Readonly<Record<string, string>>;

function expressionHolds(labels: Labels, key: string, operator: string, values: readonly string[]): boolean {
  const value = Object.hasOwn(labels, key) ? labels[key] : undefined;
  if (operator === 'In') return value !== undefined && values.includes(value);
  // As in Kubernetes, NotIn holds for an absent label.
  if (operator === 'NotIn') return value === undefined || !values.includes(value);
  if (operator === 'Exists') return value !== undefined;
  return value === undefined;
}

/** As apimachinery's LabelSelectorAsSelector: every requirement must hold; a selector without any matches everything. Pure. */
export function matchesLabels(selector: LabelSelector | undefined, labels: Labels): boolean {
  const exact = Object.entries(selector?.matchLabels ?? {});
  return (
    exact.every(([key, value]) => Object.hasOwn(labels, key) && labels[key] === value) &&
    (selector?.matchExpressions ?? []).every(({ key, operator, values }) =>
      expressionHolds(labels, key, operator, values ?? []),
    )
  );
}

/** Whether a selector matches, and why or why not, in words. */
export interface Enablement {
  readonly isEnabled: boolean;
  readonly because: string;
}

function positive(selector: LabelSelector | undefined, labels: Labels, whose: string): string[] {
  const keys = [
    ...Object.keys(selector?.matchLabels ?? {}),
    ...(selector?.matchExpressions ?? [])
      .filter(({ operator }) => operator === 'In' || operator === 'Exists')
      .map(({ key }) => key),
  ];
  return keys.map((key) => `${whose} label ${key}=${labels[key] ?? ''}`);
}

/** The pod's own labels that a selector refuses, by which a pod opts out although its namespace opted in. */
function refusals(selector: LabelSelector | undefined, labels: Labels): string[] {
  return (selector?.matchExpressions ?? [])
    .filter(
      ({ key, operator, values }) =>
        Object.hasOwn(labels, key) && !expressionHolds(labels, key, operator, values ?? []),
    )
    .map(({ key }) => `pod label ${key}=${labels[key] ?? ''}`);
}

/** Enabled if both parts of any selector match, as in istio cni/pkg/util/enablement_selector.go. Pure. */
export function enablement(
  selectors: readonly EnablementSelector[],
  podLabels: Labels,
  namespaceLabels: Labels,
): Enablement {
  for (const { podSelector, namespaceSelector } of selectors) {
    if (!matchesLabels(podSelector, podLabels) || !matchesLabels(namespaceSelector, namespaceLabels)) continue;
    const reasons = [
      ...positive(namespaceSelector, namespaceLabels, 'namespace'),
      ...positive(podSelector, podLabels, 'pod'),
    ];
    return {
      isEnabled: true,
      because: reasons.length === 0 ? 'an enablement selector matches every pod' : reasons.join(' and '),
    };
  }
  const refused = selectors
    .filter(({ namespaceSelector }) => matchesLabels(namespaceSelector, namespaceLabels))
    .flatMap(({ podSelector }) => refusals(podSelector, podLabels));
  if (refused[0] !== undefined) return { isEnabled: false, because: refused[0] };
  const looked = new Set(
    selectors.flatMap(({ podSelector, namespaceSelector }) =>
      [podSelector, namespaceSelector].flatMap((part) =>
        Object.entries(part?.matchLabels ?? {}).map(([key, value]) => `${key}=${value}`),
      ),
    ),
  );
  const because =
    looked.size === 0
      ? 'no enablement selector matches'
      : `no label ${[...looked].join(' or ')} on the pod or its namespace`;
  return { isEnabled: false, because };
}
