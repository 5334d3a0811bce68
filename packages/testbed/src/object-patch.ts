// What brings an object at an API server to what the testbed wants of it now, and leaves alone what others wrote there.
import type { ApiObject } from './kubernetes-api/resources.js';
import type { KubernetesObject } from './kubernetes-objects.js';

type Texts = Readonly<Record<string, string>>;

/**
 * A JSON merge patch (RFC 7386). Labels become exactly those wanted. Of the annotations only those change that differ from
 * what the testbed wrote before (`written`), as kubectl apply does it: the agent's own are not the testbed's to undo. The
 * uid and the revision are the server's.
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

/** null for every key that is not there any more. */
function removed(before: Texts = {}, after: Texts = {}): Record<string, null> {
  const gone = Object.keys(before).filter((key) => !Object.hasOwn(after, key));
  return Object.fromEntries(gone.map((key) => [key, null]));
}
