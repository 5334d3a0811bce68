// The datapath of this node: loaded or adopted, filled, attached; it goes on without its owner.
import type { BpfMap } from '@sluice/libbpf';
import { applyDesired, type ApplyResult, type WrittenMaps } from './apply.js';
import { attachPrograms, type AttachResult } from './attach.js';
import { readCounters, type Counters } from './counters.js';
import type { DesiredMaps } from './desired.js';
import { LOOPBACK_PROGRAM } from './layout.js';
import { loadObject, pinFresh, type DatapathOptions, type LoadedObject } from './open.js';

/**
 * Owns the descriptors of the programs and maps; what is pinned and attached outlives it. Open, apply what is wanted,
 * then activate: until then the programs of an earlier agent, if there are any, go on with the maps that both share.
 */
export class Datapath {
  readonly #options: DatapathOptions;
  readonly #loaded: LoadedObject;
  readonly #maps: WrittenMaps;
  readonly #counters: { readonly counters: BpfMap; readonly events: BpfMap };

  private constructor(options: DatapathOptions, loaded: LoadedObject) {
    const { object } = loaded;
    this.#options = options;
    this.#loaded = loaded;
    this.#maps = {
      settings: object.map('settings'),
      port_rules: object.map('port_rules'),
      excluded_cidrs: object.map('excluded_cidrs'),
      included_cidrs: object.map('included_cidrs'),
      local_pods: object.map('local_pods'),
      pod_addresses: object.map('pod_addresses'),
      cgroup_info_map: object.map('cgroup_info_map'),
      netns_info_map: object.map('netns_info_map'),
      config: object.map('config'),
    };
    this.#counters = { counters: object.map('counters'), events: object.map('events') };
  }

  /** Loads the programs, on the maps of an earlier agent where they fit. Throws DatapathError. */
  static open(options: DatapathOptions): Datapath {
    return new Datapath(options, loadObject(options));
  }

  /** The maps that were there already. */
  get adopted(): readonly string[] {
    return this.#loaded.adopted;
  }

  /**
   * Descriptor of the tc program for the ingress of a pod's loopback: mark 0x539/0xfff becomes 0x111/0xfff. Valid until
   * {@link close}; what it is attached to goes on with it.
   */
  get loopbackFilterFd(): number {
    return this.#loaded.object.program(LOOPBACK_PROGRAM).fd;
  }

  /** Makes the maps what they ought to be; what cannot be written is in the result, and the rest is written. */
  apply(desired: DesiredMaps): ApplyResult {
    return applyDesired(this.#maps, desired);
  }

  /** Puts the programs in force: attaches and pins them, or updates the pinned links. Throws DatapathError. */
  activate(): AttachResult {
    pinFresh(this.#loaded, this.#options.pinDirectory);
    return attachPrograms(this.#loaded.object, this.#options.cgroup, this.#options.pinDirectory);
  }

  counters(): Counters {
    return readCounters(this.#counters);
  }

  close(): void {
    this.#loaded.object.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
