// BpfObject: a compiled object from the file to the kernel.
import { native } from './native.js';
import type { MapDefinitionRow, NativeObject, ProgramDefinitionRow } from './native.js';
import { attempt, refuse } from './error.js';
import { explainLoad, explainOpen } from './load-failure.js';
import { BpfMap } from './map.js';
import { BpfProgram } from './program.js';
import { attachTypeName, helperName, mapTypeName, programTypeName } from './names.js';
import { incompatibility } from './pinned-map.js';
import { writeVariables } from './rodata.js';
import type { BtfType } from './btf.js';

export interface MapOptions {
  /** Replaces the number in the object. */
  maxEntries?: number;
  /** A map to use instead of a new one. */
  reuse?: BpfMap;
}

export interface OpenOptions {
  /** By the maps' names in C. */
  maps?: Record<string, MapOptions>;
  /** Values of `const volatile` variables by name: integers and booleans as the verifier will see them. */
  rodata?: Record<string, number | bigint>;
  /** Which programs load() loads. Without it: all except those whose section name begins with '?'. */
  autoload?: (programName: string) => boolean;
}

/** A map as the object defines it, with the options applied. */
export interface MapDefinition extends Omit<MapDefinitionRow, 'type' | 'internal'> {
  type: string;
}

/** A program as the object defines it, with the options applied. */
export interface ProgramDefinition extends Omit<ProgramDefinitionRow, 'type' | 'expectedAttachType' | 'helpers'> {
  type: string;
  attachType: string;
  /** The helpers that it calls ('map_lookup_elem'), except for those in functions that were not inlined. */
  helpers: string[];
}

/**
 * Opens a compiled object and applies the options; nothing is in the kernel before load(). BpfError when the file is
 * missing, is no BPF object, or an option names something that is not in it.
 */
export function openObject(path: string, options: OpenOptions = {}): BpfObject {
  const handle = attempt(
    `open ${path}`,
    () => new native.ObjectHandle(path),
    (failure) => explainOpen(failure, path),
  );
  try {
    return new BpfObject(handle, path, options);
  } catch (error) {
    handle.close();
    throw error;
  }
}

/** An opened object. Programs and maps that it hands out are independent of it and stay open when it is closed. */
export class BpfObject {
  readonly path: string;
  readonly #handle: NativeObject;
  readonly #options: OpenOptions;
  readonly #maps = new Map<string, BpfMap>();
  readonly #programs = new Map<string, BpfProgram>();
  #state: 'open' | 'loaded' | 'failed' | 'closed' = 'open';

  /** For openObject. */
  constructor(handle: NativeObject, path: string, options: OpenOptions) {
    this.#handle = handle;
    this.path = path;
    this.#options = options;
    // Only once, because libbpf describes every map each time.
    const rows = options.maps === undefined ? [] : this.#mapRows();
    for (const [name, map] of Object.entries(options.maps ?? {})) {
      const { maxEntries: defined } = this.#rowOf(rows, name);
      if (map.maxEntries !== undefined && map.maxEntries !== defined) {
        const { maxEntries } = map;
        attempt(`set maxEntries of map '${name}' to ${maxEntries}`, () => handle.setMaxEntries(name, maxEntries));
      }
    }
    const { autoload, rodata } = options;
    if (autoload !== undefined) for (const { name } of handle.programs()) handle.setAutoload(name, autoload(name));
    if (rodata !== undefined) writeVariables(handle, '.rodata', rodata, path);
  }

  /** The maps as defined, without the sections of variables. */
  mapDefinitions(): MapDefinition[] {
    return this.#mapRows().map(({ name, type, keySize, valueSize, maxEntries, flags }) => ({
      name,
      type: mapTypeName(type),
      keySize,
      valueSize,
      maxEntries,
      flags,
    }));
  }

  programDefinitions(): ProgramDefinition[] {
    return this.#handle.programs().map(({ type, expectedAttachType, helpers, ...rest }) => ({
      ...rest,
      helpers: helpers.map(helperName),
      type: programTypeName(type),
      attachType: attachTypeName(expectedAttachType),
    }));
  }

  /** The object's types, with the offsets of its variables filled in. */
  btf(): BtfType[] {
    return this.#handle.btf();
  }

  /**
   * Makes the maps, and loads the programs. If the verifier refuses one, the error's message ends with the last lines of the
   * log, and `verifierLog` has all of it. Either everything is loaded, or nothing is left behind. An object can be
   * loaded once.
   */
  load(): void {
    if (this.#state !== 'open') throw refuse('EINVAL', `cannot load ${this.path}: it is ${this.#state} already`);
    this.#state = 'failed';
    this.#reuseMaps();
    const what = `load ${this.path}`;
    attempt(
      what,
      () => this.#handle.load(),
      (failure) => explainLoad(failure),
    );
    try {
      this.#collect();
    } catch (error) {
      this.close();
      throw error;
    }
    this.#state = 'loaded';
  }

  /** A loaded program by its C name. */
  program(name: string): BpfProgram {
    this.#mustBeLoaded(`program '${name}'`);
    return this.#programs.get(name) ?? missing(this.path, 'program', name, [...this.#programs.keys()]);
  }

  /** The loaded programs (those that autoload left out are not among them). */
  programs(): BpfProgram[] {
    this.#mustBeLoaded('its programs');
    return [...this.#programs.values()];
  }

  /** A map by its C name. */
  map(name: string): BpfMap {
    this.#mustBeLoaded(`map '${name}'`);
    return this.#maps.get(name) ?? missing(this.path, 'map', name, [...this.#maps.keys()]);
  }

  maps(): BpfMap[] {
    this.#mustBeLoaded('its maps');
    return [...this.#maps.values()];
  }

  /** Closes the object with its programs and maps. What is attached by a link, or pinned, stays in the kernel. */
  close(): void {
    for (const program of this.#programs.values()) program.close();
    for (const map of this.#maps.values()) map.close();
    this.#handle.close();
    this.#state = 'closed';
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #mapRows(): MapDefinitionRow[] {
    return this.#handle.maps().filter((row) => !row.internal);
  }

  #rowOf(rows: readonly MapDefinitionRow[], name: string): MapDefinitionRow {
    return (
      rows.find((row) => row.name === name) ??
      missing(
        this.path,
        'map',
        name,
        rows.map((row) => row.name),
      )
    );
  }

  #reuseMaps(): void {
    const rows = this.#options.maps === undefined ? [] : this.#mapRows();
    for (const [name, { reuse }] of Object.entries(this.#options.maps ?? {})) {
      if (reuse === undefined) continue;
      const difference = incompatibility(this.#rowOf(rows, name), reuse);
      if (difference !== undefined) {
        throw refuse(
          'EINVAL',
          `cannot load ${this.path}: the map '${reuse.name}' (id ${reuse.id}) cannot serve as '${name}': ${difference}. ` +
            'Begin with a new map, or open the object with the options that it was made with',
        );
      }
      attempt(`reuse a map as '${name}'`, () => this.#handle.reuseMap(name, reuse.fd));
    }
  }

  #collect(): void {
    for (const { name } of this.#mapRows()) this.#maps.set(name, new BpfMap(this.#handle.mapFd(name), name));
    for (const row of this.#handle.programs()) {
      if (row.autoload) this.#programs.set(row.name, new BpfProgram(this.#handle.programFd(row.name), row));
    }
  }

  #mustBeLoaded(what: string): void {
    if (this.#state !== 'loaded') {
      throw refuse('EINVAL', `cannot give ${what} of ${this.path}: it is ${this.#state}, not loaded`);
    }
  }
}

function missing(path: string, kind: 'map' | 'program', name: string, present: string[]): never {
  throw refuse('ENOENT', `${path} has no ${kind} '${name}'; it has ${present.join(', ') || 'none'}`);
}
