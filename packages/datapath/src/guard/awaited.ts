// The pods of which the agent has told the guard before anything was there to see of them.
import { maps } from '../generated/maps.js';
import type { Maps } from '../layout.js';
import { addEntry } from './entries.js';

/** As the kernel's side reads it out of paths. Nothing else names a cgroup. */
const UID = /^[0-9a-f-]{36}$/;

export class AwaitedPods {
  readonly #maps: Maps<'expected_pods' | 'pod_cgroups'>;
  /** Those that the last call has named. */
  #told: ReadonlySet<string> = new Set();

  constructor(opened: Maps<'expected_pods' | 'pod_cgroups'>) {
    this.#maps = opened;
  }

  /** Exactly these from now on. The entry of one that has a cgroup ends with that. Returns those for which there is no room. */
  set(uids: Iterable<string>): string[] {
    const { expected_pods: expected, pod_cgroups: cgroups } = this.#maps;
    const awaited = new Set([...uids].filter((uid) => UID.test(uid)));
    for (const uid of this.#told)
      if (!awaited.has(uid) && cgroups.lookup(keyOf(uid)) === undefined) expected.delete(keyOf(uid));
    const now = maps.expected_pods.encodeValue(process.hrtime.bigint());
    const left = [...awaited].filter(
      (uid) => expected.lookup(keyOf(uid)) === undefined && !addEntry(expected, keyOf(uid), now),
    );
    this.#told = awaited;
    return left;
  }
}

const keyOf = (uid: string): Buffer => maps.expected_pods.encodeKey({ text: Buffer.from(uid) });
