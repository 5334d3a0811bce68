// Changes an object at an API server into what the testbed wants it to be, without touching what others wrote there.
import type { ApiObject } from './kubernetes-api/resources.js';
import type { KubernetesObject } from './kubernetes-objects.js';

type Texts = Readonly<Record<string, string>>;

/**
 * A JSON merge patch (RFC 7386). The labels become exactly the wanted ones. Of everything else only that goes away which the
 * testbed wrote before (`written`) and does not want now, as with kubectl apply: the testbed must not undo the agent's
 * annotations. The uid and the revision belong to the server.
 */
export function objectPatch(
  wanted: KubernetesObject,
  written: KubernetesObject | undefined,
  current: ApiObject,
): Record<string, unknown> {
  const { metadata } = wanted;
  return {
    ...changes(others(written), others(wanted)),
    metadata: {
      ...changes(others(written?.metadata), others(metadata)),
      labels: { ...removed(current.metadata.labels, metadata.labels), ...metadata.labels },
      annotations: difference(written?.metadata.annotations, metadata.annotations),
    },
  };
}

/** What is changed in a way of its own, and what never changes. */
const NOT_OTHERS = new Set([
  'apiVersion',
  'kind',
  'metadata',
  'name',
  'namespace',
  'uid',
  'resourceVersion',
  'labels',
  'annotations',
]);

function others(parts: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return Object.fromEntries(Object.entries(parts).filter(([key]) => !NOT_OTHERS.has(key)));
}

function difference(before: Texts = {}, after: Texts = {}): Record<string, string | null> {
  const changed = Object.entries(after).filter(([key, value]) => before[key] !== value);
  return { ...removed(before, after), ...Object.fromEntries(changed) };
}

/** Everything of `after`, and null for what only `before` has, at any depth. */
function changes(before: Readonly<Record<string, unknown>>, after: Readonly<Record<string, unknown>>): object {
  const patch: Record<string, unknown> = removed(before, after);
  for (const [key, value] of Object.entries(after)) {
    const earlier = before[key];
    patch[key] = isRecord(value) && isRecord(earlier) ? changes(earlier, value) : value;
  }
  return patch;
}

/** null for every key that no longer exists. */
function removed(before: object = {}, after: object = {}): Record<string, null> {
  const gone = Object.keys(before).filter((key) => !Object.hasOwn(after, key));
  return Object.fromEntries(gone.map((key) => [key, null]));
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
