// What is pinned, seen without touching it: for status, explain and watch, whether the agent runs or not.
import { existsSync } from 'node:fs';
import { BpfLink, BpfMap, type LinkInfo } from '@sluice/libbpf';
import { readTables } from './apply.js';
import { readCounters, type Counters } from './counters.js';
import { readDecisions, type DecisionRecord } from './decisions.js';
import type { DesiredMaps } from './desired.js';
import { configKey, decodeMaps } from './entries.js';
import { DatapathError } from './errors.js';
import { PROGRAMS, linkPin, mapPin, type MapName } from './layout.js';

/** A program's pinned link. */
export interface InstalledLink {
  readonly program: string;
  /** Undefined if it is not pinned. */
  readonly link: LinkInfo | undefined;
}

const READ_MAPS = [
  'settings',
  'excluded_ports',
  'excluded_cidrs',
  'local_pods',
  'cgroup_info_map',
  'netns_info_map',
  'config',
  'counters',
  'events',
  'decisions',
] as const satisfies readonly MapName[];

/** The datapath as it is pinned. Opens the maps for reading and closes them with {@link close}. */
export class InstalledDatapath {
  readonly #maps: Readonly<Record<(typeof READ_MAPS)[number], BpfMap>>;
  readonly #pinDirectory: string;

  private constructor(pinDirectory: string, maps: Readonly<Record<(typeof READ_MAPS)[number], BpfMap>>) {
    this.#pinDirectory = pinDirectory;
    this.#maps = maps;
  }

  /** Throws DatapathError not-installed if the pins are not there. */
  static open(pinDirectory: string): InstalledDatapath {
    const opened: Partial<Record<(typeof READ_MAPS)[number], BpfMap>> = {};
    for (const name of READ_MAPS) {
      const pin = mapPin(pinDirectory, name);
      if (!existsSync(pin)) {
        for (const map of Object.values(opened)) map.close();
        throw new DatapathError(
          'not-installed',
          `no datapath is pinned at ${pinDirectory} (${name} is missing). Start the agent: sluice run`,
        );
      }
      opened[name] = BpfMap.openPinned(pin);
    }
    return new InstalledDatapath(pinDirectory, opened as Record<(typeof READ_MAPS)[number], BpfMap>);
  }

  /** What the kernel enforces. */
  read(): DesiredMaps {
    return decodeMaps(readTables(this.#maps), this.#maps.config.lookup(configKey()));
  }

  counters(): Counters {
    return readCounters(this.#maps);
  }

  links(): InstalledLink[] {
    return PROGRAMS.map(({ program }) => {
      const pin = linkPin(this.#pinDirectory, program);
      if (!existsSync(pin)) return { program, link: undefined };
      using link = BpfLink.openPinned(pin);
      return { program, link: link.info() };
    });
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
