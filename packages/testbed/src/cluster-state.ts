// What pods, tests and the demo tell Kubernetes, in whichever way the agent reads it.
import type { KubernetesObject } from './kubernetes-objects.js';

export interface ClusterState {
  /** Writes an object, and replaces an older one of the same kind and name. */
  write(object: KubernetesObject): void;

  /** Removes an object; does nothing if it does not exist. */
  remove(object: KubernetesObject): void;

  /** Writes a Namespace with exactly these labels (and the one that Kubernetes adds). */
  setNamespace(name: string, labels: Readonly<Record<string, string>>): void;

  /** Writes a Namespace without labels unless it is there. */
  ensureNamespace(name: string): void;

  /** Fulfilled when all of it can be read; rejects with the first failure since the last call. */
  settled(): Promise<void>;
}
