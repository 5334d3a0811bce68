import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  DEEPEST_LEVEL,
  WorkloadFlag,
  canonicalAddress,
  canonicalCidr,
  type CgroupInfo,
  type DesiredMaps,
  type TrafficRule,
} from '../src/index.js';
import { decodeConfig, decodeMaps, encodeConfig, encodeMaps } from '../src/entries.js';

const address = fc
  .oneof(fc.ipV4(), fc.ipV6())
  .map(canonicalAddress)
  .filter((text) => text !== '::');
const id = fc.bigInt({ min: 1n, max: 2n ** 64n - 1n });
/** What the encoder sets. */
const BY_RULES = WorkloadFlag.EXCLUDES | WorkloadFlag.ONLY_INCLUDED_OUTBOUND | WorkloadFlag.ONLY_INCLUDED_INBOUND;
const info = fc.record({
  id,
  inMesh: fc.boolean(),
  ip: fc.option(address, { nil: undefined }),
  flags: fc.integer({ min: 0, max: 0xffff }).map((flags) => flags & ~BY_RULES),
  detectedFlags: fc.integer({ min: 0, max: 0xffff }),
});
const cidr = fc.oneof(
  fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 32 })),
  // Without the dotted forms: a mapped range is canonically an IPv4 one.
  fc.tuple(
    fc.ipV6().filter((text) => !text.includes('.')),
    fc.integer({ min: 0, max: 95 }),
  ),
);
const action = fc.constantFrom('exclude' as const, 'include' as const);
const rule: fc.Arbitrary<TrafficRule> = fc.oneof(
  fc.record({
    kind: fc.constant('port' as const),
    workload: id,
    direction: fc.constantFrom('outbound' as const, 'inbound' as const),
    action,
    port: fc.integer({ min: 1, max: 65535 }),
  }),
  fc.record({
    kind: fc.constant('cidr' as const),
    workload: id,
    action,
    cidr: cidr
      .filter(([text, length]) => !(text === '::' && length > 0))
      .map(([text, length]) => canonicalCidr(`${text}/${length}`)),
  }),
);
const desired: fc.Arbitrary<DesiredMaps> = fc.record({
  cgroups: fc.array(fc.tuple(id, info)).map((entries) => new Map(entries)),
  netns: fc.array(fc.tuple(id, info)).map((entries) => new Map(entries)),
  localPods: fc
    .array(fc.tuple(address, fc.record({ netnsCookie: id, flags: fc.integer({ min: 0, max: 0xffff }) })))
    .map((entries) => new Map(entries)),
  rules: fc.uniqueArray(rule, {
    selector: (item) => JSON.stringify({ ...item, workload: String(item.workload) }),
  }),
  settings: fc.record({
    ztunnelIPv4: fc.option(
      fc.ipV4().filter((text) => text !== '0.0.0.0'),
      { nil: undefined },
    ),
    ztunnelIPv6: fc.option(fc.constant('fd66::9'), { nil: undefined }),
    noZtunnel: fc.constantFrom('closed' as const, 'open' as const),
    pending: fc.constantFrom('hold' as const, 'open' as const),
    ztunnelByMark: fc.boolean(),
    probesExempt: fc.constantFrom('kubelet' as const, 'host' as const),
    hostNetnsCookie: id,
    cgroupLevels: fc
      .uniqueArray(fc.integer({ min: 0, max: DEEPEST_LEVEL }))
      .map((levels) => levels.toSorted((a, b) => a - b)),
    sampleEvery: fc.integer({ min: 0, max: 1000 }),
  }),
});

const nothing: DesiredMaps = {
  cgroups: new Map(),
  netns: new Map(),
  localPods: new Map(),
  rules: [],
  settings: {
    ztunnelIPv4: undefined,
    ztunnelIPv6: undefined,
    noZtunnel: 'closed',
    pending: 'hold',
    ztunnelByMark: false,
    probesExempt: 'kubelet',
    hostNetnsCookie: 0n,
    cgroupLevels: [],
    sampleEvery: 0,
  },
};

const sorted = (maps: DesiredMaps): unknown => ({
  ...maps,
  rules: maps.rules.map((item) => JSON.stringify({ ...item, workload: String(item.workload) })).toSorted(),
});

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
      // A list that is there and empty.
      EXCLUDES | ONLY_INCLUDED_OUTBOUND,
      0,
    ]);
    expect(sorted(decodeMaps(encodeMaps(maps), encodeConfig(maps.settings).value))).toEqual(sorted(maps));
  });

  it('name only depths that the programs look at', () => {
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
