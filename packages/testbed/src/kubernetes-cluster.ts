// A cluster behind an API server: what the testbed publishes is created, patched and deleted there, in order.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Cgroup } from './cgroup.js';
import type { ClusterState } from './cluster-state.js';
import { KubernetesApiProcess } from './kubernetes-api/api-process.js';
import type { ApiObject, ObjectPlace } from './kubernetes-api/resources.js';
import { namespaceObject, type KubernetesObject } from './kubernetes-objects.js';
import { objectPatch } from './object-patch.js';

/**
 * The server runs in a process of its own, because a client would have to wait for the event loop of a test with a node full of
 * processes. It is controlled through its standard input, so that objects can change while its port is closed.
 */
export class KubernetesCluster implements ClusterState, AsyncDisposable {
  /** For everything that has no method here; call `settled()` first if the order matters. */
  readonly api: KubernetesApiProcess;
  readonly #directory: string;
  /** What was written last under each name. */
  readonly #written = new Map<string, KubernetesObject>();
  readonly #kubeconfigs = new Map<string, string>();
  #queue: Promise<void> = Promise.resolve();
  #failure: Error | undefined;

  private constructor(api: KubernetesApiProcess, directory: string) {
    this.api = api;
    this.#directory = directory;
  }

  /** Kubeconfigs are written into the directory. The server runs in the cgroup, if one is given. */
  static async start(directory: string, cgroup?: Cgroup): Promise<KubernetesCluster> {
    return new KubernetesCluster(await KubernetesApiProcess.start(cgroup === undefined ? {} : { cgroup }), directory);
  }

  /**
   * Creates a new object with the given uid and status, or patches the existing one, see objectPatch(). One with another uid is
   * another object: the old one is deleted first.
   */
  write(object: KubernetesObject): void {
    const wanted = structuredClone(object);
    const { kind } = wanted;
    const [at, key] = placeOf(wanted);
    this.#then(`write ${key}`, async () => {
      const current = await this.api.call('get', kind, at);
      const { uid } = wanted.metadata;
      if (current !== null && (uid === undefined || uid === current.metadata.uid)) {
        await this.api.call('patch', kind, at, objectPatch(wanted, this.#written.get(key), current));
      } else {
        if (current !== null) await this.api.call('remove', kind, at);
        await this.api.call('create', kind, wanted);
      }
      this.#written.set(key, wanted);
    });
  }

  /** Deletes at once, without a grace period. An object of that name with another uid stays. */
  remove(object: KubernetesObject): void {
    const { kind } = object;
    const { uid } = object.metadata;
    const [at, key] = placeOf(object);
    this.#then(`remove ${key}`, async () => {
      const current = await this.api.call('get', kind, at);
      if (current === null || (uid !== undefined && uid !== current.metadata.uid)) return;
      await this.api.call('remove', kind, at);
      this.#written.delete(key);
    });
  }

  setNamespace(name: string, labels: Readonly<Record<string, string>>): void {
    this.write(namespaceObject(name, labels));
  }

  ensureNamespace(name: string): void {
    this.#then(`write Namespace ${name}`, async () => {
      if ((await this.api.call('get', 'Namespace', { name })) === null)
        await this.api.call('create', 'Namespace', namespaceObject(name, {}));
    });
  }

  async settled(): Promise<void> {
    await this.#queue;
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure;
  }

  /** The object as the server has it when everything has settled. */
  async get(kind: string, at: ObjectPlace): Promise<ApiObject | undefined> {
    await this.settled();
    return (await this.api.call('get', kind, at)) ?? undefined;
  }

  /** All objects of a kind, in all namespaces, as the server has them when everything has settled. */
  async list(kind: string): Promise<readonly ApiObject[]> {
    await this.settled();
    return this.api.call('list', kind);
  }

  /** When all has settled, closes the server's port and cuts every connection, until `back`. Objects can still change. */
  async away(): Promise<void> {
    await this.settled();
    await this.api.call('away');
  }

  /** When everything has settled, opens the same port again. */
  async back(): Promise<void> {
    await this.settled();
    await this.api.call('back');
  }

  /**
   * Path of a kubeconfig with this token; by default, the token of a user who may do everything. `api.call('allow', token,
   * user)` defines another token's user and what its rules allow.
   */
  kubeconfig(token: string = this.api.adminToken): string {
    const known = this.#kubeconfigs.get(token);
    if (known !== undefined) return known;
    // It has a number, because a token may not be a valid file name.
    const path = join(this.#directory, `kubeconfig-${this.#kubeconfigs.size}.yaml`);
    writeFileSync(path, this.api.kubeconfig(token), { mode: 0o600 });
    this.#kubeconfigs.set(token, path);
    return path;
  }

  /** What has not settled by now may be lost. */
  close(): Promise<void> {
    return this.api.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #then(what: string, change: () => Promise<void>): void {
    this.#queue = this.#queue.then(change).catch((cause: Error) => {
      this.#failure ??= new Error(`cannot ${what} at the API double: ${cause.message}`, { cause });
    });
  }
}

function placeOf({ kind, metadata: { namespace, name } }: KubernetesObject): [at: ObjectPlace, key: string] {
  return namespace === undefined
    ? [{ name }, `${kind} ${name}`]
    : [{ namespace, name }, `${kind} ${namespace}/${name}`];
}
