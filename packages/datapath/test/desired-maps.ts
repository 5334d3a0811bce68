// Anything that the maps may be wanted to hold, for property tests.
import fc from 'fast-check';
import {
  DEEPEST_LEVEL,
  WorkloadFlag,
  canonicalAddress,
  canonicalCidr,
  type DesiredMaps,
  type TrafficRule,
} from '../src/index.js';

const address = fc
  .oneof(fc.ipV4(), fc.ipV6())
  .map(canonicalAddress)
  .filter((text) => text !== '::');
const id = fc.bigInt({ min: 1n, max: 2n ** 64n - 1n });
/** The bits that the encoder sets. */
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
  // Without the dotted forms: the canonical form of a mapped range is an IPv4 range.
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
export const desired: fc.Arbitrary<DesiredMaps> = fc.record({
  cgroups: fc.array(fc.tuple(id, info)).map((entries) => new Map(entries)),
  netns: fc.array(fc.tuple(id, info)).map((entries) => new Map(entries)),
  localPods: fc
    .array(fc.tuple(address, fc.record({ netnsCookie: id, flags: fc.integer({ min: 0, max: 0xffff }) })))
    .map((entries) => new Map(entries)),
  ownAddresses: fc
    .array(fc.tuple(id, fc.uniqueArray(address, { minLength: 1, maxLength: 4 })))
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
    unknown: fc.constantFrom('hold' as const, 'open' as const),
    ztunnelByMark: fc.boolean(),
    probesExempt: fc.constantFrom('kubelet' as const, 'host' as const),
    hostNetnsCookie: id,
    cgroupLevels: fc
      .uniqueArray(fc.integer({ min: 0, max: DEEPEST_LEVEL }))
      .map((levels) => levels.toSorted((a, b) => a - b)),
    sampleEvery: fc.integer({ min: 0, max: 1000 }),
  }),
});

/** With the rules in a fixed order, and without anything that cannot be compared. */
export const sorted = (maps: DesiredMaps): unknown => ({
  ...maps,
  ownAddresses: new Map([...maps.ownAddresses].map(([cookie, ips]) => [cookie, [...ips].toSorted()])),
  rules: maps.rules.map((item) => JSON.stringify({ ...item, workload: String(item.workload) })).toSorted(),
});

export const nothing: DesiredMaps = {
  cgroups: new Map(),
  netns: new Map(),
  localPods: new Map(),
  ownAddresses: new Map(),
  rules: [],
  settings: {
    ztunnelIPv4: undefined,
    ztunnelIPv6: undefined,
    noZtunnel: 'closed',
    unknown: 'hold',
    ztunnelByMark: false,
    probesExempt: 'kubelet',
    hostNetnsCookie: 0n,
    cgroupLevels: [],
    sampleEvery: 0,
  },
};
