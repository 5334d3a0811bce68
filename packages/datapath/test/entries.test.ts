import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DEEPEST_LEVEL, WorkloadFlag, type CgroupInfo, type DesiredMaps, type TrafficRule } from '../src/index.js';
import { decodeConfig, decodeMaps, encodeConfig, encodeMaps } from '../src/entries.js';
import { desired, nothing, sorted } from './desired-maps.js';

describe('map entries', () => {
  it('read back as what was written', () => {
    fc.assert(
      fc.property(desired, (maps) => {
        const back = decodeMaps(encodeMaps(maps), encodeConfig(maps.settings).value);
        expect(sorted(back)).toEqual(sorted(maps));
      }),
    );
  });

  it('mark the workloads that have rules, by what the rules do', () => {
    const workload = (id: bigint, flags: number = WorkloadFlag.AMBIENT): [bigint, CgroupInfo] => [
      id,
      { id: id / 10n, inMesh: true, ip: undefined, flags, detectedFlags: 1 },
    ];
    const port = (workload: bigint, direction: 'outbound' | 'inbound', action: 'exclude' | 'include'): TrafficRule => ({
      kind: 'port',
      workload,
      direction,
      action,
      port: 80,
    });
    const maps: DesiredMaps = {
      ...nothing,
      cgroups: new Map([
        workload(10n),
        workload(11n),
        workload(20n),
        workload(30n),
        workload(40n),
        workload(50n, WorkloadFlag.ONLY_INCLUDED_OUTBOUND),
        workload(60n),
      ]),
      rules: [
        port(1n, 'outbound', 'exclude'),
        port(2n, 'outbound', 'include'),
        port(3n, 'inbound', 'include'),
        { kind: 'cidr', workload: 4n, action: 'include', cidr: '10.0.0.0/8' },
      ],
    };
    const { EXCLUDES, ONLY_INCLUDED_INBOUND, ONLY_INCLUDED_OUTBOUND } = WorkloadFlag;
    // struct cgroup_info: flags are the 16 bits at offset 28.
    const flags = [...encodeMaps(maps).cgroup_info_map.values()].map(({ value }) => value.readUInt16LE(28));
    expect(flags.map((one) => one & ~WorkloadFlag.AMBIENT)).toEqual([
      EXCLUDES,
      EXCLUDES,
      EXCLUDES,
      EXCLUDES | ONLY_INCLUDED_INBOUND,
      EXCLUDES | ONLY_INCLUDED_OUTBOUND,
      // The list exists and is empty.
      EXCLUDES | ONLY_INCLUDED_OUTBOUND,
      0,
    ]);
    expect(sorted(decodeMaps(encodeMaps(maps), encodeConfig(maps.settings).value))).toEqual(sorted(maps));
  });

  it('name only depths that the programs look up', () => {
    const source = readFileSync(new URL('../../../bpf/caller.h', import.meta.url), 'utf8');
    expect(source).toContain(`#define DEEPEST_LEVEL ${DEEPEST_LEVEL}\n`);
    const cgroupLevels = [3, DEEPEST_LEVEL, DEEPEST_LEVEL + 1, 35];
    const config = encodeConfig({ ...nothing.settings, cgroupLevels }).value;
    expect(decodeConfig(config).cgroupLevels).toEqual([3, DEEPEST_LEVEL]);
  });

  it('have the layout of the fixed interface', () => {
    const [entry] = encodeMaps({
      ...nothing,
      cgroups: new Map([[0x1122334455667788n, { id: 9n, inMesh: true, ip: '10.1.2.3', flags: 5, detectedFlags: 7 }]]),
    }).cgroup_info_map.values();
    expect(entry?.key.toString('hex')).toBe('8877665544332211');
    expect(entry?.value.toString('hex')).toBe(
      ['0900000000000000', '01000000', '0000000000000000', '0000ffff', '0a010203', '0500', '0700'].join(''),
    );
  });
});
