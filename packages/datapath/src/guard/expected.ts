// The pods that the guard expects in the mesh: those that it has seen itself, and those of which the agent has told it before anything was
// there to see of them. The kernel writes these maps as well.
import { statSync } from 'node:fs';
import type { BpfMap } from '@sluice/libbpf';
import { maps } from '../generated/maps.js';
import { addEntry } from '../kept-map.js';
import type { Maps } from '../layout.js';

/** By their pod-level cgroups. */
export function readExpected(map: BpfMap): ReadonlySet<bigint> {
  return new Set([...map.keys()].map((key) => maps.expected_cgroups.decodeKey(key)));
}

/** What the agent knows of the pods. */
export interface KnownPods {
  /** The UIDs of those that are wanted in the mesh and have no cgroup yet. */
  readonly awaited: Iterable<string>;
  /** The paths of the pod-level cgroups that are there, by their ids. */
  readonly present: ReadonlyMap<bigint, string>;
  /** The pod-level cgroups of those about which it has decided that they are not wanted in the mesh. */
  readonly out: Iterable<bigint>;
}

/** As the kernel's side reads it out of paths. Nothing else names a cgroup. */
const UID = /^[0-9a-f-]{36}$/;

/** A pod's cgroup and its log directory come within seconds of each other, if both come. */
const GIVEN_UP_AFTER_NS = 600_000_000_000n;

/** The value of a map of which only the keys count. */
const PRESENT = maps.expected_cgroups.encodeValue(1);

type ExpectedMaps = Maps<'expected_pods' | 'pod_cgroups' | 'expected_cgroups'>;

/** A pod's cgroup as a map had it at the last call. */
interface SeenCgroup {
  readonly key: Buffer;
  readonly value: Buffer;
  readonly id: bigint;
  readonly path: string;
}

export class ExpectedPods {
  readonly #maps: ExpectedMaps;
  #awaited: readonly Buffer[] = [];
  /** Of the awaited, those for which there was no room. */
  #left: ReadonlySet<Buffer> = new Set();
  /** Cgroups that the maps have and that are not there, as of the last call. */
  #absent: ReadonlySet<bigint> = new Set();
  #seen: Readonly<Record<'pod_cgroups' | 'expected_cgroups', readonly SeenCgroup[]>> = {
    pod_cgroups: [],
    expected_cgroups: [],
  };

  constructor(opened: ExpectedMaps) {
    this.#maps = opened;
  }

  /** See `setPods` of the guard. */
  set({ awaited, present, out }: KnownPods): string[] {
    this.putRight();
    const before = this.#awaited;
    this.#awaited = [...awaited].filter((uid) => UID.test(uid)).map(keyOf);
    const now = new Set(this.#awaited.map(String));
    for (const key of before) if (!now.has(String(key))) this.#maps.expected_pods.delete(key);
    this.#forgetOthers(present, now, new Set(out));
    this.#tell();
    return [...this.#left].map(String);
  }

  /** What somebody else has deleted or changed, by the names of the maps. */
  kept(): readonly (readonly [name: string, map: { difference(): string | undefined }])[] {
    const words = (others: readonly unknown[]): string | undefined =>
      others.length === 0 ? undefined : `${others.length} missing or changed`;
    return [
      ['expected_pods', { difference: () => words(this.#untold()) }],
      ['pod_cgroups', { difference: () => words(this.#lost('pod_cgroups')) }],
      ['expected_cgroups', { difference: () => words(this.#lost('expected_cgroups')) }],
    ];
  }

  /** Writes it again. */
  putRight(): void {
    for (const name of ['pod_cgroups', 'expected_cgroups'] as const)
      for (const { key, value } of this.#lost(name)) addEntry(this.#maps[name], key, value);
    this.#tell();
  }

  #forgetOthers(present: KnownPods['present'], awaited: ReadonlySet<string>, out: ReadonlySet<bigint>): void {
    const { expected_pods: expected, pod_cgroups: cgroups, expected_cgroups: expectedCgroups } = this.#maps;
    const pods = [...cgroups.entries()].map(([key, value]) => ({
      key,
      value,
      id: maps.pod_cgroups.decodeValue(value),
    }));
    const all = [...readExpected(expectedCgroups)].map((id) => ({
      key: maps.expected_cgroups.encodeKey(id),
      value: PRESENT,
      id,
    }));
    // One for whose entry of cgroup_info_map there is no room would be held for ever.
    for (const { key } of all.filter(({ id }) => out.has(id))) expectedCgroups.delete(key);
    const ofExpected = all.filter(({ id }) => !out.has(id));
    const absent = new Set([...pods, ...ofExpected].map(({ id }) => id).filter((id) => !present.has(id)));
    // One that is not there at a single call may have come after the look.
    const isGone = ({ id }: { readonly id: bigint }): boolean => absent.has(id) && this.#absent.has(id);
    for (const { key } of pods.filter(isGone)) cgroups.delete(key);
    for (const { key } of ofExpected.filter(isGone)) expectedCgroups.delete(key);
    const seen = (entries: readonly Omit<SeenCgroup, 'path'>[]): SeenCgroup[] =>
      entries.flatMap((entry) => {
        const path = present.get(entry.id);
        return path === undefined ? [] : [{ ...entry, path }];
      });
    this.#seen = { pod_cgroups: seen(pods), expected_cgroups: seen(ofExpected) };
    this.#absent = absent;
    const waiting = [...expected.entries()];
    // Read after the entries, or one that the kernel has just written would be from the future.
    const now = process.hrtime.bigint();
    for (const [key, value] of waiting) {
      const age = now - maps.expected_pods.decodeValue(value);
      const isRecent = age >= 0n && age < GIVEN_UP_AFTER_NS;
      if (!isRecent && !awaited.has(String(key))) expected.delete(key);
    }
  }

  #tell(): void {
    const { expected_pods: expected } = this.#maps;
    const value = maps.expected_pods.encodeValue(process.hrtime.bigint());
    const lacking = this.#awaited.filter((key) => expected.lookup(key) === undefined);
    const isTold = (key: Buffer): boolean => {
      const isWritten = addEntry(expected, key, value);
      return this.#expectCgroup(key) ?? isWritten;
    };
    this.#left = new Set(lacking.filter((key) => !isTold(key)));
  }

  /**
   * For a pod whose cgroup came before it was told of: the kernel looks only once, when the second of the two comes. False if there is no
   * room, undefined if there is no cgroup.
   */
  #expectCgroup(key: Buffer): boolean | undefined {
    const { pod_cgroups: cgroups, expected_cgroups: expectedCgroups } = this.#maps;
    const cgroup = cgroups.lookup(key);
    if (cgroup === undefined) return undefined;
    return addEntry(expectedCgroups, maps.expected_cgroups.encodeKey(maps.pod_cgroups.decodeValue(cgroup)), PRESENT);
  }

  /** The awaited pods that are not expected. The entry of one that has a cgroup ends with that. */
  #untold(): Buffer[] {
    const { expected_pods: expected, pod_cgroups: cgroups } = this.#maps;
    return this.#awaited.filter(
      (key) => !this.#left.has(key) && expected.lookup(key) === undefined && cgroups.lookup(key) === undefined,
    );
  }

  /** The entries that are not there any more, or not the same, although their cgroups are. */
  #lost(name: 'pod_cgroups' | 'expected_cgroups'): SeenCgroup[] {
    const isThere = ({ id, path }: SeenCgroup): boolean =>
      statSync(path, { bigint: true, throwIfNoEntry: false })?.ino === id;
    return this.#seen[name].filter(
      (entry) => this.#maps[name].lookup(entry.key)?.equals(entry.value) !== true && isThere(entry),
    );
  }
}

const keyOf = (uid: string): Buffer => maps.expected_pods.encodeKey({ text: Buffer.from(uid) });
