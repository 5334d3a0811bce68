// The guard's maps that the attached programs work on where the new programs get others, because these have another size: what the kernel
// has written in the former ones is carried over, so that nobody who was held is let through.
import { BpfError, BpfMap, type BpfObject } from '@sluice/libbpf';
import { CAPACITIES, nameInKernel, type MapName } from './layout.js';
import { unlessGone } from './links-of-sluice.js';

/**
 * The maps of which only the kernel knows what belongs in them. In this order: the guard moves a pod from `expected_pods` to
 * `expected_cgroups`, which is read last, so that one that moves meanwhile is found in either.
 */
const CARRIED: readonly MapName[] = CAPACITIES.pods;

interface Pair {
  readonly name: MapName;
  readonly from: BpfMap;
  readonly to: BpfMap;
}

/** Owns the descriptors of the former maps. */
export class FormerMaps {
  #pairs: readonly Pair[];

  /** `inUse`: the ids of the maps of the attached programs, by their names in the kernel. */
  constructor(object: BpfObject, inUse: ReadonlyMap<string, number>) {
    this.#pairs = CARRIED.flatMap((name) => {
      const to = object.map(name);
      const id = inUse.get(nameInKernel(name));
      if (id === undefined || id === to.info().id) return [];
      const from = unlessGone(() => BpfMap.openId(id));
      if (from === undefined) return [];
      if (isOfOneLayout(from, to)) return [{ name, from, to }];
      from.close();
      return [];
    });
  }

  /**
   * Adds what the former maps have, and leaves what is there already. Returns the maps that have no room for all of it. Call it again when
   * programs that write the new maps are attached: what was written before that is in the former ones only. Throws BpfError.
   */
  carry(): ReadonlySet<MapName> {
    const full = this.#pairs.filter(({ from, to }) => {
      const outcomes = [...from.entries()].map(([key, value]) => addNew(to, key, value));
      return outcomes.includes(false);
    });
    return new Set(full.map(({ name }) => name));
  }

  /** Idempotent. */
  close(): void {
    for (const { from } of this.#pairs) from.close();
    this.#pairs = [];
  }
}

/** As many pods again may come until the former maps are not written any more. */
const SPARE = 2;

/**
 * How many entries a map has to have room for, whatever its capacity is, so that nobody is let through who is expected in the former one. 0
 * for a map that need not carry over so much. `inUse`: as for {@link FormerMaps}.
 */
export function roomNeeded(name: MapName, inUse: ReadonlyMap<string, number>): number {
  const id = (CAPACITIES.pods as readonly MapName[]).includes(name) ? inUse.get(nameInKernel(name)) : undefined;
  using former = id === undefined ? undefined : unlessGone(() => BpfMap.openId(id));
  return former === undefined ? 0 : Math.min([...former.keys()].length * SPARE, former.maxEntries);
}

const isOfOneLayout = (a: BpfMap, b: BpfMap): boolean =>
  a.type === b.type && a.keySize === b.keySize && a.valueSize === b.valueSize;

/** False if there is no room for it. */
function addNew(map: BpfMap, key: Buffer, value: Buffer): boolean {
  try {
    map.update(key, value, 'create');
    return true;
  } catch (error) {
    if (!(error instanceof BpfError)) throw error;
    if (error.code === 'EEXIST') return true;
    if (error.code === 'E2BIG') return false;
    throw error;
  }
}
