// What is pinned, read without changing it: for status, explain and watch, whether the agent runs or not.
import { BpfLink, BpfMap, type LinkInfo } from '@sluice/libbpf';
import { readTables } from './apply.js';
import { withCgroupPins } from './cgroup-links.js';
import { COUNTER_MAPS, readCounters, type Counters } from './counters.js';
import { readDecisions, type DecisionRecord } from './decisions.js';
import type { DesiredMaps } from './desired.js';
import { readExpected } from './guard/expected.js';
import { APPLIED_MAPS, configKey, decodeMaps } from './entries.js';
import { DatapathError } from './errors.js';
import { HOLDING, capturedListener } from './listeners.js';
import { mapPin, netnsLinkPin, type MapName, type Maps } from './layout.js';
import { pinnedNetns } from './netns-links.js';
import { openIfPinned } from './pins.js';
import { recordOf } from './records.js';
import { readRouted, type RoutedDevices } from './routed-netns.js';

/** A program's pinned link to a cgroup. */
export interface InstalledLink {
  readonly program: string;
  /** `cgroupId` is 0 if it is attached to nothing. */
  readonly link: LinkInfo;
}

/** What is pinned, even if maps are missing. Throws BpfError without the right to look. */
export function readLinks(pinDirectory: string): InstalledLink[] {
  return withCgroupPins(pinDirectory, (pins) =>
    pins.flatMap(({ program, link }) =>
      program === undefined || link === undefined ? [] : [{ program, link: link.info() }],
    ),
  );
}

/** The pinned link of a pod's network namespace. */
export interface InstalledNetnsLink {
  readonly netnsCookie: bigint;
  /** `netnsInode` is 0 once the namespace is gone. */
  readonly link: LinkInfo;
}

/** The network namespaces whose new connections are captured. Throws BpfError without the right to look. */
export function readNetnsLinks(pinDirectory: string): InstalledNetnsLink[] {
  return [...pinnedNetns(pinDirectory)].flatMap((netnsCookie) => {
    using link = openIfPinned(netnsLinkPin(pinDirectory, netnsCookie), (pin) => BpfLink.openPinned(pin));
    return link === undefined ? [] : [{ netnsCookie, link: link.info() }];
  });
}

/** The maps that user space reads. */
export const USER_SPACE_READS = [
  ...APPLIED_MAPS,
  ...COUNTER_MAPS,
  'routed_netns',
  'listeners',
  'expected_cgroups',
  'decisions',
] as const satisfies readonly MapName[];
type ReadMaps = Maps<(typeof USER_SPACE_READS)[number]>;

/** The datapath as it is pinned. Opens the maps for reading and closes them with {@link close}. */
export class InstalledDatapath {
  readonly #maps: ReadMaps;
  readonly #pinDirectory: string;

  private constructor(pinDirectory: string, maps: ReadMaps) {
    this.#pinDirectory = pinDirectory;
    this.#maps = maps;
  }

  /** Throws DatapathError not-installed if the pins are not there. */
  static open(pinDirectory: string): InstalledDatapath {
    const opened: BpfMap[] = [];
    const open = (name: keyof ReadMaps): BpfMap => {
      const map = openIfPinned(mapPin(pinDirectory, name), (path) => BpfMap.openPinned(path));
      const message = `no datapath is pinned at ${pinDirectory} (the map ${name} is missing). Start the agent: sluice run`;
      if (map === undefined) throw new DatapathError('not-installed', message);
      opened.push(map);
      return map;
    };
    try {
      return new InstalledDatapath(pinDirectory, recordOf(USER_SPACE_READS, open));
    } catch (error) {
      for (const map of opened) map.close();
      throw error;
    }
  }

  /** What the kernel enforces. */
  read(): DesiredMaps {
    return decodeMaps(readTables(this.#maps), this.#maps.config.lookup(configKey()));
  }

  counters(): Counters {
    return readCounters(this.#maps);
  }

  links(): InstalledLink[] {
    return readLinks(this.#pinDirectory);
  }

  netnsLinks(): InstalledNetnsLink[] {
    return readNetnsLinks(this.#pinDirectory);
  }

  /** The socket cookie of the listener of ztunnel that is captured; undefined if there is none. */
  capturedListener(netnsCookie: bigint, port: number): bigint | undefined {
    return capturedListener(this.#maps.listeners, netnsCookie, port);
  }

  /** Whether connections can wait for ztunnel: an agent's socket holds them. */
  canHold(): boolean {
    return this.capturedListener(HOLDING.netnsCookie, HOLDING.port) !== undefined;
  }

  /** Where a marked connection reaches ztunnel, by the namespace's cookie. */
  routed(): ReadonlyMap<bigint, RoutedDevices> {
    return readRouted(this.#maps.routed_netns);
  }

  /** The pod-level cgroups of the expected pods that exist: nobody has decided about them, or they are wanted in the mesh. */
  expected(): ReadonlySet<bigint> {
    return readExpected(this.#maps.expected_cgroups);
  }

  /** See {@link readDecisions}. */
  decisions(onDecisions: (batch: readonly DecisionRecord[], dropped: number) => void): { close(): void } {
    return readDecisions(this.#maps.decisions, onDecisions);
  }

  close(): void {
    for (const map of Object.values(this.#maps)) map.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
