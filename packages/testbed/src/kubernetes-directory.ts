// A directory of Kubernetes manifests, one object per file, as the agent's static inventory reads it.
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ClusterState } from './cluster-state.js';
import { namespaceObject, toYaml, type KubernetesObject } from './kubernetes-objects.js';

export class KubernetesDirectory implements ClusterState {
  readonly path: string;
  readonly #namespaces = new Set<string>();

  constructor(path: string) {
    this.path = path;
    mkdirSync(path, { recursive: true });
  }

  /** Writes an object, and replaces an older one of the same kind and name. No reader sees half a file. */
  write(object: KubernetesObject): void {
    this.writeText(fileName(object), toYaml(object));
  }

  /** Writes any text under a file name: a malformed manifest, for example. */
  writeText(file: string, text: string): void {
    const temporary = join(this.path, `.${file}.new`);
    writeFileSync(temporary, text);
    renameSync(temporary, join(this.path, file));
  }

  /** The text of an object; undefined if there is none. */
  read(kind: string, metadata: KubernetesObject['metadata']): string | undefined {
    const path = join(this.path, fileName({ apiVersion: '', kind, metadata }));
    return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
  }

  /** Removes an object; does nothing if it does not exist. */
  remove(object: KubernetesObject): void {
    rmSync(join(this.path, fileName(object)), { force: true });
  }

  /** Writes a Namespace with exactly these labels (and the one that Kubernetes adds). */
  setNamespace(name: string, labels: Readonly<Record<string, string>>): void {
    this.#namespaces.add(name);
    this.write(namespaceObject(name, labels));
  }

  /** Writes a Namespace without labels unless it has been written before. */
  ensureNamespace(name: string): void {
    if (!this.#namespaces.has(name)) this.setNamespace(name, {});
  }

  /** Everything that was written can be read already. */
  async settled(): Promise<void> {}
}

function fileName(object: KubernetesObject): string {
  const { namespace, name } = object.metadata;
  return `${[object.kind.toLowerCase(), namespace, name].filter((part) => part !== undefined).join('.')}.yaml`;
}
