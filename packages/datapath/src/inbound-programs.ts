// Instances of the inbound program: one for each network namespace, all of them on the maps of the datapath.
import { openObject, programInfo, type BpfMap, type BpfObject, type BpfProgram } from '@sluice/libbpf';
import { DatapathError } from './errors.js';
import { INBOUND_PROGRAM } from './layout.js';

/** The program's variable that says where it is attached; 0 is not the cookie of any namespace. */
const COOKIE_VARIABLE = 'netns_cookie';
const NOWHERE = 0n;

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

  /** `maps`: those of the datapath, which must stay open as long as this is used. */
  constructor(path: string, maps: readonly BpfMap[]) {
    this.#path = path;
    this.#maps = maps;
  }

  /** Runs `use` with the instance for a namespace, which lasts as long as `use` keeps it attached. Throws DatapathError load. */
  with<T>(netnsCookie: bigint, use: (program: BpfProgram) => T): T {
    using object = this.#load(netnsCookie);
    return use(object.program(INBOUND_PROGRAM));
  }

  /** Whether a program in the kernel is an instance of this version on these maps. */
  isCurrent(programId: number): boolean {
    this.#likeness ??= this.with(NOWHERE, (program) => this.#likenessOf(program));
    const { tag, mapIds } = programInfo(programId);
    return tag === this.#likeness.tag && this.#likeness.mapIds.every((id) => mapIds.includes(id));
  }

  #likenessOf(program: BpfProgram): Likeness {
    const { tag, mapIds } = program.info();
    const shared = new Set(this.#maps.map(({ id }) => id));
    return { tag, mapIds: mapIds.filter((id) => shared.has(id)) };
  }

  #load(netnsCookie: bigint): BpfObject {
    // Every map that the object defines, used or not: a map that is not reused would be made anew.
    const maps = Object.fromEntries(this.#maps.map((map) => [map.name, { reuse: map, maxEntries: map.maxEntries }]));
    try {
      const object = openObject(this.#path, { maps, rodata: { [COOKIE_VARIABLE]: netnsCookie } });
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
