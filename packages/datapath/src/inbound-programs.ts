// Instances of the inbound program: one for each network namespace, all of them on the maps of the datapath.
import { openObject, programInfo, type BpfMap, type BpfObject, type BpfProgram } from '@sluice/libbpf';
import { DatapathError } from './errors.js';
import { INBOUND_PROGRAM } from './layout.js';

/** The instance's own map, whose one value is the cookie of the namespace that it is attached to: a __u64, which nobody changes afterwards. */
const ATTACHED_TO = 'attached_to';

/** As many pods start at a time on a busy node before there is time to load more. */
const SPARES = 8;

/** What two instances of one version on one set of maps have in common. */
interface Likeness {
  /** Hash of the instructions; the values of variables do not change it (kernel/bpf/core.c, bpf_prog_calc_tag). */
  readonly tag: string;
  /** The maps that instances share. */
  readonly mapIds: readonly number[];
}

export class InboundPrograms {
  readonly #path: string;
  readonly #maps: readonly BpfMap[];
  #likeness: Likeness | undefined;
  /** Instances that are attached nowhere yet. */
  readonly #spares: BpfObject[] = [];

  /** `maps`: those of the datapath, which must stay open as long as this is used. */
  constructor(path: string, maps: readonly BpfMap[]) {
    this.#path = path;
    this.#maps = maps;
  }

  /** Runs `use` with the instance for a namespace, which lasts as long as `use` keeps it attached. Throws DatapathError load. */
  with<T>(netnsCookie: bigint, use: (program: BpfProgram) => T): T {
    using object = this.#spares.pop() ?? this.#load();
    const value = Buffer.from(BigUint64Array.of(netnsCookie).buffer);
    const attachedTo = object.map(ATTACHED_TO);
    attachedTo.update(Buffer.from(Uint32Array.of(0).buffer), value);
    attachedTo.freeze();
    return use(object.program(INBOUND_PROGRAM));
  }

  /**
   * Loads an instance ahead, which takes the kernel some 5 ms that a pod that starts need not wait for then. Returns whether there are
   * enough. Throws DatapathError load.
   */
  stockUp(): boolean {
    if (this.#spares.length < SPARES) this.#spares.push(this.#load());
    return this.#spares.length >= SPARES;
  }

  /** Whether a program in the kernel is an instance of this version on these maps. */
  isCurrent(programId: number): boolean {
    if (this.#likeness === undefined) {
      using object = this.#load();
      this.#likeness = this.#likenessOf(object.program(INBOUND_PROGRAM));
    }
    const { tag, mapIds } = programInfo(programId);
    return tag === this.#likeness.tag && this.#likeness.mapIds.every((id) => mapIds.includes(id));
  }

  close(): void {
    for (const object of this.#spares.splice(0)) object.close();
  }

  #likenessOf(program: BpfProgram): Likeness {
    const { tag, mapIds } = program.info();
    const shared = new Set(this.#maps.map(({ id }) => id));
    return { tag, mapIds: mapIds.filter((id) => shared.has(id)) };
  }

  #load(): BpfObject {
    // Every map of the datapath, used or not: one that is not reused would be made anew.
    const maps = Object.fromEntries(this.#maps.map((map) => [map.name, { reuse: map, maxEntries: map.maxEntries }]));
    try {
      const object = openObject(this.#path, { maps });
      try {
        object.load();
      } catch (error) {
        object.close();
        throw error;
      }
      return object;
    } catch (error) {
      throw DatapathError.because('load', 'the inbound program could not be loaded', error);
    }
  }
}
