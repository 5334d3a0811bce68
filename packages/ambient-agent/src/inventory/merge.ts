// Merges many files into one inventory. An object that several files hold is taken from the last of them by file name, as `kubectl
// apply -f DIR` would leave it, and the others are reported.
import * as Schema from 'effect/Schema';
import { Namespace, Pod, podName, type Inventory } from './model.js';

export const FileObjects = Schema.Struct({
  file: Schema.String,
  pods: Schema.Array(Pod),
  namespaces: Schema.Array(Namespace),
});
export type FileObjects = typeof FileObjects.Type;

export interface MergedInventory {
  readonly inventory: Inventory;
  /** One sentence for each object that a later one replaced. */
  readonly duplicates: readonly string[];
}

/** Pure; the order of `files` does not matter. Within one file the later document wins. */
export function mergeFiles(files: readonly FileObjects[]): MergedInventory {
  const pods = new Map<string, { pod: Pod; file: string }>();
  const namespaces = new Map<string, { namespace: Namespace; file: string }>();
  const duplicates: string[] = [];
  const report = (what: string, earlier: string, later: string): void => {
    const remedy = 'remove one of them';
    duplicates.push(
      earlier === later
        ? `${what} is twice in ${later}; the later one counts; ${remedy}`
        : `${what} is in ${earlier} and in ${later}; ${later} counts; ${remedy}`,
    );
  };
  const ordered = [...files].sort((a, b) => (a.file < b.file ? -1 : a.file > b.file ? 1 : 0));
  for (const { file, pods: filePods, namespaces: fileNamespaces } of ordered) {
    for (const pod of filePods) {
      const other = pods.get(pod.uid);
      if (other !== undefined) report(`pod ${podName(pod)} (uid ${pod.uid})`, other.file, file);
      pods.set(pod.uid, { pod, file });
    }
    for (const namespace of fileNamespaces) {
      const other = namespaces.get(namespace.name);
      if (other !== undefined) report(`namespace ${namespace.name}`, other.file, file);
      namespaces.set(namespace.name, { namespace, file });
    }
  }
  return {
    inventory: {
      pods: new Map([...pods].map(([uid, { pod }]) => [uid, pod])),
      namespaces: new Map([...namespaces].map(([name, { namespace }]) => [name, namespace])),
    },
    duplicates,
  };
}
