// Whether an existing map can stand in for one that an object defines.
import type { MapDefinitionRow } from './native.js';
import { mapTypeName } from './names.js';
import type { BpfMap } from './map.js';

/** Which fields differ, in words ("it has max_entries 4, the object 8"); undefined when none does. */
export function incompatibility(wanted: MapDefinitionRow, existing: BpfMap): string | undefined {
  const differences = [
    difference('type', existing.type, mapTypeName(wanted.type)),
    difference('key_size', existing.keySize, wanted.keySize),
    difference('value_size', existing.valueSize, wanted.valueSize),
    difference('max_entries', existing.maxEntries, wanted.maxEntries),
    difference('map_flags', existing.flags, wanted.flags),
  ].filter((text) => text !== undefined);
  return differences.length === 0 ? undefined : differences.join('; ');
}

function difference(field: string, existing: string | number, wanted: string | number): string | undefined {
  return existing === wanted ? undefined : `it has ${field} ${existing}, the object wants ${wanted}`;
}
