// What the maps hold beside what they ought to hold: every difference is reported, and nothing else.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { WorkloadFlag, desiredOf, wantedEntries } from '../src/index.js';
import { entryDifferences } from '../src/entry-differences.js';
import { APPLIED_MAPS } from '../src/entries.js';
import { wantedTables } from '../src/wanted-entries.js';
import { desired, nothing, sorted } from './desired-maps.js';

type Entry = { readonly value: Buffer } | undefined;
const hexOf = (entry: Entry): string | undefined => entry?.value.toString('hex');
const valueOf = (entry: Entry): { readonly value: Buffer } | undefined => entry && { value: entry.value };

describe('wanted entries', () => {
  it('come back from plain JSON as what was wanted', () => {
    fc.assert(
      fc.property(desired, (maps) => {
        const kept = JSON.parse(JSON.stringify(wantedEntries(maps))) as ReturnType<typeof wantedEntries>;
        expect(Object.keys(kept).toSorted()).toEqual(APPLIED_MAPS.toSorted());
        expect(sorted(desiredOf(kept))).toEqual(sorted(maps));
      }),
    );
  });

  it('with another layout are refused', () => {
    expect(() => desiredOf({ local_pods: { '00': ['0102'] } })).toThrow(
      new RangeError('local_pods: keySize is 16, and not that of 0102'),
    );
  });
});

describe('differences', () => {
  it('are reported for each entry whose bytes differ, and for no other', () => {
    fc.assert(
      fc.property(desired, desired, fc.constantFrom(...APPLIED_MAPS), (a, b, map) => {
        const wanted = wantedTables(wantedEntries(a))[map];
        const others = [...wantedTables(wantedEntries(b))[map].entries()];
        // The keys of the one with the values of the other as far as they go, then the entries that only the other has.
        const changed = [...wanted].map(([id, own], at) => [id, { ...own, ...valueOf(others[at]?.[1]) }] as const);
        const present = new Map([...changed.slice(1), ...others]);
        expect(entryDifferences(map, wanted, wanted)).toEqual([]);
        const ids = [...new Set([...wanted.keys(), ...present.keys()])];
        const differing = ids.filter((id) => hexOf(wanted.get(id)) !== hexOf(present.get(id)));
        const told = entryDifferences(map, wanted, present);
        expect(told.length).toBe(differing.length);
        expect(told.filter((one) => one.present === undefined).length).toBe(
          ids.filter((id) => !present.has(id)).length,
        );
        expect(told.filter((one) => one.wanted === undefined).length).toBe(ids.filter((id) => !wanted.has(id)).length);
        for (const one of told) expect(one.wanted).not.toBe(one.present);
        expect(new Set(told.map(({ entry }) => entry)).size).toBe(told.length);
      }),
    );
  });

  it('name what differs, and bits that have no name', () => {
    const info = { id: 100n, inMesh: true, ip: '10.0.0.2', flags: WorkloadFlag.AMBIENT, detectedFlags: 1 };
    const tables = (flags: number) =>
      wantedTables(wantedEntries({ ...nothing, cgroups: new Map([[101n, { ...info, flags }]]) })).cgroup_info_map;
    expect(entryDifferences('cgroup_info_map', tables(WorkloadFlag.AMBIENT), tables(0x8000))).toEqual([
      {
        map: 'cgroup_info_map',
        entry: 'cgroup 101',
        of: { kind: 'cgroup', id: '101' },
        wanted: 'flags AMBIENT',
        present: 'flags 0x8000',
      },
    ]);
  });
});
