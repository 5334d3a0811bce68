// Converts between the agent's words (desired.ts) and the bytes of the map entries, by the codecs generated from the object.
import { addressText, addressWords, cidrText, cidrWords } from './address.js';
import {
  DEEPEST_LEVEL,
  WorkloadFlag,
  type CgroupInfo,
  type DatapathSettings,
  type DesiredMaps,
  type TrafficRule,
} from './desired.js';
import type { MapName } from './layout.js';
import { podAddresses } from './pod-addresses.js';
import { ruleFlags } from './rules.js';
import {
  PolicyBit,
  PortRuleKind,
  Setting,
  maps,
  type AgentConfig,
  type CgroupInfo as CgroupInfoValue,
} from './generated/maps.js';

/** The maps that a redirection needs; workloads refer to their entries. */
export const REFERRED_TO = [
  'settings',
  'port_rules',
  'excluded_cidrs',
  'included_cidrs',
  'local_pods',
  'pod_addresses',
  'own_addresses',
] as const;
export const WORKLOADS = ['cgroup_info_map', 'netns_info_map'] as const;

/** The maps that user space writes entry by entry. */
export const WRITTEN_MAPS = [...REFERRED_TO, ...WORKLOADS] as const satisfies readonly MapName[];
export type WrittenMap = (typeof WRITTEN_MAPS)[number];
/** All maps whose entries are a function of what is wanted. */
export const APPLIED_MAPS = [...WRITTEN_MAPS, 'config'] as const;
export type AppliedMap = (typeof APPLIED_MAPS)[number];

/** Entries of one map by the key in hexadecimal. */
export type EntryTable = Map<string, { readonly key: Buffer; readonly value: Buffer }>;

/** The workload id comes before the address and has this many bits: struct cidr_rule of bpf/maps.h. */
export const WORKLOAD_BITS = 64;
const LOW_WORD = 0xffffffffn;

const PORT_RULE_KINDS = {
  outbound: { exclude: PortRuleKind.EXCLUDE_OUTBOUND, include: PortRuleKind.INCLUDE_OUTBOUND },
  inbound: { exclude: PortRuleKind.EXCLUDE_INBOUND, include: PortRuleKind.INCLUDE_INBOUND },
} as const;
const portRuleMeanings = new Map<number, { direction: 'outbound' | 'inbound'; action: TrafficRule['action'] }>(
  (['outbound', 'inbound'] as const).flatMap((direction) =>
    (['exclude', 'include'] as const).map((action) => [PORT_RULE_KINDS[direction][action], { direction, action }]),
  ),
);

/** The programs look up rules only with EXCLUDES, and an empty list is a rule. */
const ONLY_INCLUDED = WorkloadFlag.ONLY_INCLUDED_OUTBOUND | WorkloadFlag.ONLY_INCLUDED_INBOUND;

export function encodeMaps(desired: DesiredMaps): Record<WrittenMap, EntryTable> {
  const { settings, rules } = desired;
  const flags = ruleFlags(rules);
  return {
    settings: table(
      maps.settings,
      [[Setting.IPV4, settings.ztunnelIPv4] as const, [Setting.IPV6, settings.ztunnelIPv6] as const].flatMap(
        ([key, ip]) => (ip === undefined ? [] : [[key, { ip: addressWords(ip) }] as const]),
      ),
    ),
    port_rules: table(
      maps.port_rules,
      rules
        .filter((rule) => rule.kind === 'port')
        .map(({ workload, port, direction, action }) => [
          { workload: wordsOf(workload), port, kind: PORT_RULE_KINDS[direction][action] },
          1,
        ]),
    ),
    excluded_cidrs: encodeCidrs(rules, 'exclude'),
    included_cidrs: encodeCidrs(rules, 'include'),
    local_pods: table(
      maps.local_pods,
      [...desired.localPods].map(([ip, { netnsCookie, flags }]) => [{ ip: addressWords(ip) }, { netnsCookie, flags }]),
    ),
    pod_addresses: table(
      maps.pod_addresses,
      [...podAddresses(desired.localPods)].map(([cookie, { ipv4, ipv6 }]) => [
        cookie,
        { ipv4: { ip: wordsOrZero(ipv4) }, ipv6: { ip: wordsOrZero(ipv6) } },
      ]),
    ),
    own_addresses: table(
      maps.own_addresses,
      [...desired.ownAddresses].flatMap(([cookie, ips]) =>
        ips.map((ip) => [{ netns: wordsOf(cookie), ip: addressWords(ip) }, 1] as const),
      ),
    ),
    cgroup_info_map: table(
      maps.cgroup_info_map,
      [...desired.cgroups].map(([id, info]) => [id, encodeInfo(info, flags.get(info.id))]),
    ),
    netns_info_map: table(
      maps.netns_info_map,
      [...desired.netns].map(([cookie, info]) => [cookie, encodeInfo(info, flags.get(info.id))]),
    ),
  };
}

function encodeCidrs(rules: readonly TrafficRule[], action: TrafficRule['action']): EntryTable {
  return table(
    maps.excluded_cidrs,
    rules
      .filter((rule) => rule.kind === 'cidr')
      .filter((rule) => rule.action === action)
      .map(({ workload, cidr }) => {
        const { words, prefixLength } = cidrWords(cidr);
        return [
          { prefixLength: WORKLOAD_BITS + prefixLength, workload: wordsOf(workload), ip: words },
          cidr.includes(':') ? 6 : 4,
        ];
      }),
  );
}

/** The inverse of {@link encodeMaps} and {@link encodeConfig}. `pod_addresses` has nothing that is not in `local_pods`. */
export function decodeMaps(tables: Record<WrittenMap, EntryTable>, config: Buffer | undefined): DesiredMaps {
  const ztunnels = new Map(rows(maps.settings, tables.settings).map(([key, { ip }]) => [key, addressText(ip)]));
  const rules = decodeRules(tables);
  const flags = ruleFlags(rules);
  const info = (value: CgroupInfoValue): CgroupInfo => decodeInfo(value, flags.get(value.id));
  return {
    cgroups: new Map(rows(maps.cgroup_info_map, tables.cgroup_info_map).map(([id, value]) => [id, info(value)])),
    netns: new Map(rows(maps.netns_info_map, tables.netns_info_map).map(([id, value]) => [id, info(value)])),
    localPods: new Map(
      rows(maps.local_pods, tables.local_pods).map(([{ ip }, { netnsCookie, flags }]) => [
        addressText(ip) ?? '::',
        { netnsCookie, flags },
      ]),
    ),
    ownAddresses: decodeOwnAddresses(tables.own_addresses),
    rules,
    settings: decodeConfig(config, ztunnels.get(Setting.IPV4), ztunnels.get(Setting.IPV6)),
  };
}

function decodeOwnAddresses(table: EntryTable): Map<bigint, readonly string[]> {
  const result = new Map<bigint, string[]>();
  for (const [{ netns, ip }] of rows(maps.own_addresses, table)) {
    const cookie = numberOf(netns);
    result.set(cookie, [...(result.get(cookie) ?? []), addressText(ip) ?? '::']);
  }
  return result;
}

function decodeRules(tables: Record<WrittenMap, EntryTable>): TrafficRule[] {
  const cidrs = (table: EntryTable, action: TrafficRule['action']): TrafficRule[] =>
    rows(maps.excluded_cidrs, table).map(([{ prefixLength, workload, ip }]) => ({
      kind: 'cidr',
      workload: numberOf(workload),
      action,
      cidr: cidrText(ip, prefixLength - WORKLOAD_BITS),
    }));
  return [
    ...rows(maps.port_rules, tables.port_rules).flatMap(([{ workload, port, kind }]): TrafficRule[] => {
      const meaning = portRuleMeanings.get(kind);
      return meaning === undefined ? [] : [{ kind: 'port', workload: numberOf(workload), ...meaning, port }];
    }),
    ...cidrs(tables.excluded_cidrs, 'exclude'),
    ...cidrs(tables.included_cidrs, 'include'),
  ];
}

/** `config` has one element. */
export const configKey = (): Buffer => maps.config.encodeKey(0);

export function encodeConfig(settings: DatapathSettings): { key: Buffer; value: Buffer } {
  const policy =
    (settings.noZtunnel === 'open' ? PolicyBit.NO_ZTUNNEL_OPEN : 0) |
    (settings.unknown === 'open' ? PolicyBit.UNKNOWN_OPEN : 0) |
    (settings.ztunnelByMark ? PolicyBit.ZTUNNEL_BY_MARK : 0) |
    (settings.probesExempt === 'host' ? PolicyBit.PROBES_FROM_HOST : 0);
  const value: AgentConfig = {
    hostNetnsCookie: settings.hostNetnsCookie,
    cgroupLevels: settings.cgroupLevels
      .filter((level) => level <= DEEPEST_LEVEL)
      .reduce((bits, level) => bits | (1 << level), 0),
    policy,
    sampleEvery: settings.sampleEvery,
  };
  return { key: configKey(), value: maps.config.encodeValue(value) };
}

export function tableOfConfig(settings: DatapathSettings): EntryTable {
  const entry = encodeConfig(settings);
  return new Map([[entry.key.toString('hex'), entry]]);
}

/** The settings other than ztunnel's addresses, as the kernel has them; those of a zeroed `config` if it cannot be read. */
export function decodeConfig(value: Buffer | undefined, ipv4?: string, ipv6?: string): DatapathSettings {
  const config = maps.config.decodeValue(value ?? Buffer.alloc(maps.config.valueSize));
  return {
    ztunnelIPv4: ipv4,
    ztunnelIPv6: ipv6,
    noZtunnel: config.policy & PolicyBit.NO_ZTUNNEL_OPEN ? 'open' : 'closed',
    unknown: config.policy & PolicyBit.UNKNOWN_OPEN ? 'open' : 'hold',
    ztunnelByMark: (config.policy & PolicyBit.ZTUNNEL_BY_MARK) !== 0,
    probesExempt: config.policy & PolicyBit.PROBES_FROM_HOST ? 'host' : 'kubelet',
    hostNetnsCookie: config.hostNetnsCookie,
    cgroupLevels: Array.from({ length: DEEPEST_LEVEL + 1 }, (_, level) => level).filter(
      (level) => config.cgroupLevels & (1 << level),
    ),
    sampleEvery: config.sampleEvery,
  };
}

function encodeInfo(info: CgroupInfo, ruleFlags = 0): CgroupInfoValue {
  const flags = info.flags | ruleFlags;
  return {
    id: info.id,
    isInMesh: info.inMesh ? 1 : 0,
    cgroupIp: wordsOrZero(info.ip),
    flags: flags & ONLY_INCLUDED ? flags | WorkloadFlag.EXCLUDES : flags,
    detectedFlags: info.detectedFlags,
  };
}

function decodeInfo(value: CgroupInfoValue, ruleFlags = 0): CgroupInfo {
  return {
    id: value.id,
    inMesh: value.isInMesh !== 0,
    ip: addressText(value.cgroupIp),
    flags: value.flags & ~(WorkloadFlag.EXCLUDES | ruleFlags),
    detectedFlags: value.detectedFlags,
  };
}

/** Whether a value of `cgroup_info_map` or `netns_info_map` is one whose caller always passes: ztunnel, the kubelet. */
export function isNeverRedirected(value: Buffer): boolean {
  return (maps.cgroup_info_map.decodeValue(value).flags & (WorkloadFlag.ZTUNNEL | WorkloadFlag.KUBELET)) !== 0;
}

const wordsOrZero = (ip: string | undefined): ReturnType<typeof addressWords> =>
  ip === undefined ? [0, 0, 0, 0] : addressWords(ip);

/** A 64-bit number as the two words that keys without padding have, low and high. */
export const wordsOf = (value: bigint): readonly [number, number] => [Number(value & LOW_WORD), Number(value >> 32n)];
export const numberOf = ([low, high]: readonly [number, number]): bigint => (BigInt(high) << 32n) | BigInt(low);

interface Codec<K, V> {
  encodeKey(key: K): Buffer;
  encodeValue(value: V): Buffer;
  decodeKey(bytes: Buffer): K;
  decodeValue(bytes: Buffer): V;
}

function table<K, V>(codec: Codec<K, V>, entries: Iterable<readonly [K, V]>): EntryTable {
  const result: EntryTable = new Map();
  for (const [key, value] of entries) {
    const bytes = codec.encodeKey(key);
    result.set(bytes.toString('hex'), { key: bytes, value: codec.encodeValue(value) });
  }
  return result;
}

function rows<K, V>(codec: Codec<K, V>, entries: EntryTable): [K, V][] {
  return [...entries.values()].map(({ key, value }) => [codec.decodeKey(key), codec.decodeValue(value)]);
}
