// Changes an object at an API server into what the testbed wants it to be, without touching what others wrote there.
import type { ApiObject } from './kubernetes-api/resources.js';
import type { KubernetesObject } from './kubernetes-objects.js';

type Texts = Readonly<Record<string, string>>;

/**
 * A JSON merge patch (RFC 7386). The labels become exactly the wanted ones. Only those annotations change that differ from what
 * the testbed wrote before (`written`), as with kubectl apply: the testbed must not undo the agent's. The uid and the revision
 * belong to the server.
 */
export function objectPatch(
  wanted: KubernetesObject,
  written: KubernetesObject | undefined,
  current: ApiObject,
): Record<string, unknown> {
  const { apiVersion: _apiVersion, kind: _kind, metadata, ...rest } = wanted;
  return {
    ...rest,
    metadata: {
      labels: { ...removed(current.metadata.labels, metadata.labels), ...metadata.labels },
      annotations: difference(written?.metadata.annotations, metadata.annotations),
    },
  };
}

function difference(before: Texts = {}, after: Texts = {}): Record<string, string | null> {
  const changed = Object.entries(after).filter(([key, value]) => before[key] !== value);
  return { ...removed(before, after), ...Object.fromEntries(changed) };
}

/** null for every key that no longer exists. */
function removed(before: Texts = {}, after: Texts = {}): Record<string, null> {
  const gone = Object.keys(before).filter((key) => !Object.hasOwn(after, key));
  return Object.fromEntries(gone.map((key) => [key, null]));
}
