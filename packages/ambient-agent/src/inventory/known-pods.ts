// What the API said of the pods that run here. A pod leaves the mesh when its labels say so or its cgroup is gone, and never because its
// object has disappeared, which happens as soon as somebody deletes it by force. It is kept across restarts for the same reason.
import { join } from 'node:path';
import * as Schema from 'effect/Schema';
import { KeptFile } from '../run-directory/kept-file.js';
import { Namespace, Pod, type Inventory } from './model.js';
import { staticPodUid } from './static-pod.js';

const KeptPods = Schema.Struct({
  version: Schema.Literal(1),
  pods: Schema.Array(Pod),
  namespaces: Schema.Array(Namespace),
});
type KeptPods = typeof KeptPods.Type;

export const podsFile = (runDir: string): KeptFile<KeptPods> =>
  new KeptFile(join(runDir, 'pods.json'), Schema.fromJsonString(KeptPods));

/** What changes all the time, and says nothing about membership. */
const lasting = (pod: Pod): Pod => ({ ...pod, isReady: false, phase: 'Running', isDeleting: false });

export class KnownPods {
  readonly #file: KeptFile<KeptPods>;
  #pods: ReadonlyMap<string, Pod>;
  #namespaces: ReadonlyMap<string, Namespace>;
  #written = '';

  /** @param before what an earlier agent left in the file */
  constructor(file: KeptFile<KeptPods>, before: KeptPods | undefined) {
    this.#file = file;
    this.#pods = new Map((before?.pods ?? []).map((pod) => [pod.uid, pod]));
    this.#namespaces = new Map((before?.namespaces ?? []).map((namespace) => [namespace.name, namespace]));
  }

  /**
   * The inventory with the pods whose objects are gone although they run, and with their namespaces. What the inventory has counts: also
   * another mirror of the same static pod.
   * @param present UIDs of the pods that have a cgroup
   */
  complete({ pods, namespaces }: Inventory, present: ReadonlySet<string>): Inventory {
    const cgroupOf = (pod: Pod): string | undefined =>
      [pod.uid, staticPodUid(pod)].find((uid) => uid !== undefined && present.has(uid));
    const shown = [...pods.values()].filter((pod) => cgroupOf(pod) !== undefined);
    const taken = new Set(shown.map(cgroupOf));
    const missing = [...this.#pods.values()].filter((pod) => {
      const uid = cgroupOf(pod);
      return uid !== undefined && !taken.has(uid) && !pods.has(pod.uid);
    });
    const running = [...shown, ...missing];
    const gone = new Set(running.map(({ namespace }) => namespace).filter((name) => !namespaces.has(name)));
    const remembered = [...this.#namespaces.values()].filter(({ name }) => gone.has(name));
    const completed: Inventory = {
      pods: missing.length === 0 ? pods : new Map([...pods, ...missing.map((pod) => [pod.uid, pod] as const)]),
      namespaces:
        remembered.length === 0
          ? namespaces
          : new Map([...namespaces, ...remembered.map((one) => [one.name, one] as const)]),
    };
    this.#remember(running, completed);
    return completed;
  }

  #remember(running: readonly Pod[], { namespaces }: Inventory): void {
    this.#pods = new Map(running.map((pod) => [pod.uid, pod]));
    const names = new Set(running.map(({ namespace }) => namespace));
    this.#namespaces = new Map([...names].flatMap((name) => namespaces.get(name) ?? []).map((one) => [one.name, one]));
    const kept: KeptPods = { version: 1, pods: running.map(lasting), namespaces: [...this.#namespaces.values()] };
    const text = JSON.stringify(kept);
    if (text === this.#written) return;
    try {
      this.#file.replace(kept);
      this.#written = text;
    } catch {
      // The state file, in the same directory, cannot be written either, and that is reported.
    }
  }
}
