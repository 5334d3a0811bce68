// The guard of this node (bpf/guard.bpf.c): loaded, told what it has to know, attached. It goes on working without its owner,
// and holds the pods of the mesh that come while nobody decides about them.
import { statSync } from 'node:fs';
import { BpfMap } from '@sluice/libbpf';
import type { Netns } from '@sluice/linux';
import { DatapathError } from '../errors.js';
import { maps, type GuardConfig as GuardConfigValue } from '../generated/maps.js';
import { GUARD_OBJECT_PATH, PINNED_MAPS, mapPin, type MapName, type Maps } from '../layout.js';
import { openIfPinned } from '../pins.js';
import { recordOf } from '../records.js';
import { KeptMap } from '../kept-map.js';
import { otherEntries, type MissingPart } from '../missing.js';
import { readPodEvents, type PodEvent } from './events.js';
import { ExpectedPods, readExpected, type KnownPods } from './expected.js';
import { Entries } from './entries.js';
import { GuardLinks } from './links.js';
import type { GuardPart, MissingGuardPart } from './parts.js';

/** The maps that user space alone writes. */
const KEPT = ['guard_config', 'meshed_namespaces', 'pods_parents', 'reachable_pods'] as const;

/** The maps that user space writes, and those that it reads. */
export const GUARD_WRITES = [
  ...KEPT,
  'expected_pods',
  'pod_cgroups',
  'expected_cgroups',
] as const satisfies readonly MapName[];
export const GUARD_READS = [...GUARD_WRITES, 'pod_events'] as const satisfies readonly MapName[];

export interface GuardOptions {
  /** Where the datapath is pinned, which has to be active: both share their maps. */
  readonly pinDirectory: string;
  /** The cgroup2 directory below which the node's pods are. */
  readonly cgroup: string;
  /** The kubelet's podLogsDir as the kubelet names it: an absolute path on the host. It need not exist. */
  readonly podLogs: string;
  /**
   * The policy about pods of which nobody has decided. With `open` no listener is held or refused, and the guard remembers it by itself: an older agent
   * that does not know it does not write this policy into the settings. Default 'hold'.
   */
  readonly unknown?: 'hold' | 'open';
  /** What is known of the mesh already; without it, what an earlier agent has said stays, until it is set. */
  readonly meshedNamespaces?: Iterable<string>;
  readonly podsParents?: Iterable<bigint>;
  /** The built object; the one that ships with this package if left out. */
  readonly objectPath?: string;
}

/** The value of a map of which only the keys count. */
const PRESENT = 1;

export class Guard {
  readonly #maps: Maps<MapName>;
  readonly #config: GuardConfigValue;
  readonly #links: GuardLinks;
  readonly #namespaces: Entries<string, typeof PRESENT>;
  readonly #parents: Entries<bigint, typeof PRESENT>;
  readonly #reachable: Entries<bigint, bigint>;
  readonly #kept: Readonly<Record<(typeof KEPT)[number], KeptMap>>;
  readonly #expected: ExpectedPods;

  private constructor(opened: Maps<MapName>, links: GuardLinks, config: GuardConfigValue) {
    this.#maps = opened;
    this.#config = config;
    this.#links = links;
    this.#kept = recordOf(KEPT, (name) => new KeptMap(opened[name]));
    this.#namespaces = new Entries(this.#kept.meshed_namespaces, (name, value) => [
      encodeNamespace(name),
      maps.meshed_namespaces.encodeValue(value),
    ]);
    this.#parents = new Entries(this.#kept.pods_parents, (id, value) => [
      maps.pods_parents.encodeKey(id),
      maps.pods_parents.encodeValue(value),
    ]);
    this.#reachable = new Entries(this.#kept.reachable_pods, (id, cookie) => [
      maps.reachable_pods.encodeKey(id),
      maps.reachable_pods.encodeValue(cookie),
    ]);
    this.#expected = new ExpectedPods(opened);
  }

  /**
   * Attaches and pins every part that this kernel has; {@link missing} names the others. What an earlier agent attached stays if it
   * is of this version and on the same maps, and otherwise goes on beside until {@link endFormer}.
   * @throws DatapathError not-installed if the maps are not pinned (`pinMaps` of the datapath); RangeError for a `podLogs` that no pod's could be
   */
  static open(options: GuardOptions): Guard {
    const { pinDirectory, meshedNamespaces, podsParents, objectPath = GUARD_OBJECT_PATH } = options;
    const config = configOf(options);
    const opened = openMaps(pinDirectory);
    const guard = new Guard(opened, new GuardLinks(pinDirectory, objectPath, opened), config);
    try {
      guard.#configure(config);
      if (meshedNamespaces !== undefined) guard.setMeshedNamespaces(meshedNamespaces);
      if (podsParents !== undefined) guard.setPodsParents(podsParents);
      guard.#attach();
      return guard;
    } catch (error) {
      guard.close();
      throw error;
    }
  }

  /** Ends what an earlier agent attached. Call it when the datapath is active: until then its programs ask the former maps. Idempotent. */
  endFormer(): void {
    this.#links.endFormer();
  }

  /**
   * Exactly these namespaces are in the mesh from now on: a pod of theirs is expected if its log directory is made after this. Returns
   * those for which there is no room, whose pods are not held.
   */
  setMeshedNamespaces(names: Iterable<string>): readonly string[] {
    return this.#namespaces.set([...names].map((name) => [name, PRESENT]));
  }

  /**
   * The ids of the cgroups that hold all pods, exactly these from now on. What a process below them makes is not believed, and what
   * is made below them is reported. Returns those for which there is no room.
   */
  setPodsParents(ids: Iterable<bigint>): readonly bigint[] {
    return this.#parents.set([...ids].map((id) => [id, PRESENT]));
  }

  /**
   * The pods whose listeners may be reached, exactly these from now on: what they listen at afterwards is not held, and {@link letGo} lets
   * go what was. By pod-level cgroup, the cookie of the network namespace in which their connections are captured; 0n: wherever they
   * listen. Returns those for which there is no room, which stay held.
   */
  setReachable(pods: Iterable<readonly [id: bigint, netnsCookie: bigint]>): readonly bigint[] {
    return this.#reachable.set(pods);
  }

  /**
   * The awaited pods, exactly these from now on, are expected without the making of a log directory, because it may be older than the guard:
   * the kubelet makes none that is there, such as after a reboot. Forgotten are the pods that are gone and whose end the guard has not
   * seen, so that they take no room: those whose cgroup is not there at this call nor was at the one before, and those that have been
   * expected for ten minutes, have no cgroup and are not awaited. Those that are out are expected no more. Returns the UIDs of the awaited pods for which there is no room.
   */
  setPods(pods: KnownPods): readonly string[] {
    return this.#expected.set(pods);
  }

  /** The pod-level cgroups of the expected pods that exist: nobody has decided about them, or they are wanted in the mesh. */
  expected(): ReadonlySet<bigint> {
    return readExpected(this.#maps.expected_cgroups);
  }

  /**
   * Takes the listeners of reachable pods in a network namespace from the loopback, or all if the policy is `open`, and returns how many
   * these were. Idempotent.
   * @throws BpfError; DatapathError attach if some could not be let go
   */
  letGo(netns: Netns): number {
    return this.#links.letGo(netns);
  }

  /**
   * What cannot be had of the guard here. Without `mkdirat` or `cgroup_mkdir` no new pod is held; without `cgroup_rmdir` the room for
   * pods is used up in the end; without `let_go` no listener is held; without `refuse_listen` some cannot be.
   */
  missing(): readonly MissingGuardPart[] {
    return this.#links.missing;
  }

  /** Whether {@link letGo} can. */
  canLetGo(): boolean {
    return this.#links.canLetGo;
  }

  /** The parts that are attached. */
  attached(): readonly GuardPart[] {
    return this.#links.attached;
  }

  /**
   * What somebody has taken away or changed since it was attached or written, as `missing` of the datapath, and what could not be attached
   * because something had run out: {@link restore} puts it back. Throws BpfError.
   */
  disturbed(): readonly MissingPart[] {
    const unattached = this.#passing().map((part): MissingPart => ({
      kind: 'program',
      what: `the guard’s ${part} is not attached`,
    }));
    const unpinned = this.#links.unpinned().map((part): MissingPart => ({
      kind: 'pin',
      what: `the guard’s ${part} is not pinned`,
    }));
    return [...unattached, ...unpinned, ...otherEntries([...Object.entries(this.#kept), ...this.#expected.kept()])];
  }

  /**
   * Puts back what is in the maps no more, pins again what somebody has unpinned, and attaches what could not be attached before and may
   * be now; returns the parts that were not pinned. What it cannot attach stays {@link disturbed}, and {@link missing} says why. Throws
   * BpfError, and DatapathError or the file system's error if nothing can be pinned.
   */
  restore(): readonly GuardPart[] {
    for (const map of Object.values(this.#kept)) map.putRight();
    this.#expected.putRight();
    const unpinned = this.#links.unpinned();
    if (unpinned.length > 0 || this.#passing().length > 0) this.#attach();
    return unpinned;
  }

  /** See {@link readPodEvents}. */
  events(onEvents: (batch: readonly PodEvent[], dropped: number) => void): { close(): void } {
    return readPodEvents(this.#maps.pod_events, onEvents);
  }

  /** The parts that are missing, and may be had at another try. */
  #passing(): readonly GuardPart[] {
    return this.missing()
      .filter(({ isPassing }) => isPassing)
      .map(({ part }) => part);
  }

  #attach(): void {
    this.#links.attach();
    // What nobody could let go must not be held.
    const isStuck = this.missing().some(({ part }) => part === 'let_go');
    this.#configure(isStuck ? { ...this.#config, letsAllGo: 1 } : this.#config);
  }

  #configure(config: GuardConfigValue): void {
    this.#kept.guard_config.put(configKey(), maps.guard_config.encodeValue(config));
  }

  /** Leaves it in force. */
  close(): void {
    this.#links.close();
    for (const map of Object.values(this.#maps)) map.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Throws DatapathError not-installed. */
function openMaps(pinDirectory: string): Maps<MapName> {
  const opened: BpfMap[] = [];
  try {
    return recordOf(PINNED_MAPS, (name) => {
      const map = openIfPinned(mapPin(pinDirectory, name), (path) => BpfMap.openPinned(path));
      if (map === undefined) {
        const message = `the guard works on the maps of the datapath, and the map ${name} is not pinned at ${pinDirectory}. Pin the maps of the datapath first`;
        throw new DatapathError('not-installed', message);
      }
      opened.push(map);
      return map;
    });
  } catch (error) {
    for (const map of opened) map.close();
    throw error;
  }
}

/** `guard_config` has one element. */
export const configKey = (): Buffer => maps.guard_config.encodeKey(0);

const POD_LOGS_BYTES = 128;

/** Throws RangeError. */
function configOf({ podLogs, cgroup, unknown }: GuardOptions): GuardConfigValue {
  const text = Buffer.from(podLogs.replace(/\/+$/, ''));
  if (!podLogs.startsWith('/') || text.length === 0 || text.length >= POD_LOGS_BYTES)
    throw new RangeError(
      `the directory of the pods' logs has to be an absolute path of at most ${POD_LOGS_BYTES - 1} bytes, not '${podLogs}'`,
    );
  return {
    root: statSync(cgroup, { bigint: true }).ino,
    podLogs: Buffer.concat([text], POD_LOGS_BYTES),
    podLogsLength: text.length,
    letsAllGo: unknown === 'open' ? 1 : 0,
  };
}

const NAMESPACE_BYTES = 64;

function encodeNamespace(name: string): Buffer {
  return maps.meshed_namespaces.encodeKey({ text: Buffer.concat([Buffer.from(name)], NAMESPACE_BYTES) });
}
