// What the maps ought to hold, as bytes in plain JSON. An agent leaves it for a later comparison with the kernel.
import type { DesiredMaps } from './desired.js';
import { APPLIED_MAPS, decodeMaps, encodeMaps, tableOfConfig, type AppliedMap, type EntryTable } from './entries.js';
import { maps } from './generated/maps.js';
import { recordOf } from './records.js';

/** By map and value the keys with that value, in hexadecimal. Most values are those of a pod with several cgroups. */
export type WantedEntries = Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;

/** Pure. `encoded` is what {@link encodeMaps} makes of `desired`, for a caller that has it already. */
export function wantedEntries(desired: DesiredMaps, encoded = encodeMaps(desired)): WantedEntries {
  const tables = { ...encoded, config: tableOfConfig(desired.settings) };
  return Object.fromEntries(Object.entries(tables).map(([map, table]) => [map, keysByValue(table)]));
}

function keysByValue(table: EntryTable): Record<string, readonly string[]> {
  const result: Record<string, string[]> = {};
  for (const [key, { value }] of table) (result[value.toString('hex')] ??= []).push(key);
  return result;
}

/** Throws RangeError if the entries do not have the layout of this version. */
export function wantedTables(wanted: WantedEntries): Record<AppliedMap, EntryTable> {
  const tableOf = (map: AppliedMap): EntryTable =>
    new Map(
      Object.entries(wanted[map] ?? {}).flatMap(([value, keys]) =>
        keys.map((key) => [key, { key: bytes(map, key, 'keySize'), value: bytes(map, value, 'valueSize') }] as const),
      ),
    );
  return recordOf(APPLIED_MAPS, tableOf);
}

/** The inverse of {@link wantedEntries}. Throws RangeError if the entries do not have the layout of this version. */
export function desiredOf(wanted: WantedEntries): DesiredMaps {
  const { config, ...tables } = wantedTables(wanted);
  return decodeMaps(tables, [...config.values()][0]?.value);
}

function bytes(map: AppliedMap, hexadecimal: string, size: 'keySize' | 'valueSize'): Buffer {
  const result = Buffer.from(hexadecimal, 'hex');
  if (result.length === maps[map][size]) return result;
  throw new RangeError(`${map}: ${size} is ${maps[map][size]}, and not that of ${hexadecimal}`);
}
