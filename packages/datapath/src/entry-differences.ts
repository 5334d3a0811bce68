// Compares what a map holds with what it ought to hold: every entry that differs, in words for people.
import { addressText, cidrText } from './address.js';
import { WORKLOAD_BITS, decodeConfig, numberOf, type AppliedMap, type EntryTable } from './entries.js';
import { PortRuleKind, Setting, WorkloadFlag, maps } from './generated/maps.js';

export interface EntryDifference {
  readonly map: AppliedMap;
  readonly entry: string;
  /** What the entry is about; a traffic rule is about the pod-level cgroup. */
  readonly of: { readonly kind: 'cgroup' | 'netns' | 'ip' | 'node'; readonly id: string };
  /** Undefined if there ought to be no such entry. If both are defined, they name the fields that differ. */
  readonly wanted: string | undefined;
  /** Undefined if there is no such entry. */
  readonly present: string | undefined;
}

type Words = Pick<EntryDifference, 'entry' | 'of'> & { readonly fields: Readonly<Record<string, string>> };
type Describe = (key: Buffer, value: Buffer) => Words;

const NO_BYTES = Buffer.alloc(0);

/** Pure. Sorted by entry. */
export function entryDifferences(map: AppliedMap, wanted: EntryTable, present: EntryTable): EntryDifference[] {
  const ids = [...new Set([...wanted.keys(), ...present.keys()])];
  return ids
    .filter((id) => present.get(id)?.value.equals(wanted.get(id)?.value ?? NO_BYTES) !== true)
    .flatMap((id) => differenceOf(map, words(map, wanted.get(id)), words(map, present.get(id))) ?? [])
    .sort((a, b) => (a.entry < b.entry ? -1 : 1));
}

function words(map: AppliedMap, entry: { key: Buffer; value: Buffer } | undefined): Words | undefined {
  return entry === undefined ? undefined : DESCRIBE[map](entry.key, entry.value);
}

function differenceOf(map: AppliedMap, wanted: Words | undefined, present: Words | undefined) {
  const named = wanted ?? present;
  if (named === undefined) return undefined;
  const names = Object.keys(named.fields).filter(
    (name) => wanted === undefined || present === undefined || wanted.fields[name] !== present.fields[name],
  );
  if (wanted !== undefined && present !== undefined && names.length === 0) return undefined;
  const text = (side: Words | undefined): string | undefined =>
    side === undefined ? undefined : names.map((name) => `${name} ${side.fields[name]}`).join(', ') || 'an entry';
  return { map, entry: named.entry, of: named.of, wanted: text(wanted), present: text(present) };
}

const NONE = 'none';

function flagWords(flags: number): string {
  const known = Object.entries(WorkloadFlag).filter(([, bit]) => (flags & bit) !== 0);
  const unknown = known.reduce((rest, [, bit]) => rest & ~bit, flags);
  return [...known.map(([name]) => name), ...(unknown === 0 ? [] : [`0x${unknown.toString(16)}`])].join(' ') || NONE;
}

const nameIn = (enumeration: Readonly<Record<string, number>>, value: number): string =>
  Object.entries(enumeration).find(([, one]) => one === value)?.[0] ?? String(value);

/** Both maps of callers have the same layout. */
const caller =
  (kind: 'cgroup' | 'netns', name: string): Describe =>
  (key, value) => {
    const id = String(maps.cgroup_info_map.decodeKey(key));
    const { id: workload, isInMesh, cgroupIp, flags, detectedFlags } = maps.cgroup_info_map.decodeValue(value);
    const fields = {
      workload: String(workload),
      'in the mesh': isInMesh === 0 ? 'no' : 'yes',
      IP: addressText(cgroupIp) ?? NONE,
      flags: flagWords(flags),
      'decided flags': flagWords(detectedFlags),
    };
    return { entry: `${name} ${id}`, of: { kind, id }, fields };
  };

/** Both maps of ranges have the same layout. */
const range =
  (action: 'excluded' | 'included'): Describe =>
  (key, value) => {
    const { prefixLength, workload, ip } = maps.excluded_cidrs.decodeKey(key);
    const id = String(numberOf(workload));
    const entry = `workload ${id}, ${action} range ${cidrText(ip, prefixLength - WORKLOAD_BITS)}`;
    return { entry, of: { kind: 'cgroup', id }, fields: { family: String(maps.excluded_cidrs.decodeValue(value)) } };
  };

const DESCRIBE: Readonly<Record<AppliedMap, Describe>> = {
  cgroup_info_map: caller('cgroup', 'cgroup'),
  netns_info_map: caller('netns', 'network namespace'),
  local_pods: (key, value) => {
    const id = addressText(maps.local_pods.decodeKey(key).ip) ?? '::';
    const { netnsCookie, flags } = maps.local_pods.decodeValue(value);
    const fields = { 'network namespace': String(netnsCookie), flags: flagWords(flags) };
    return { entry: `IP ${id}`, of: { kind: 'ip', id }, fields };
  },
  pod_addresses: (key, value) => {
    const id = String(maps.pod_addresses.decodeKey(key));
    const { ipv4, ipv6 } = maps.pod_addresses.decodeValue(value);
    const fields = { IPv4: addressText(ipv4.ip) ?? NONE, IPv6: addressText(ipv6.ip) ?? NONE };
    return { entry: `network namespace ${id}`, of: { kind: 'netns', id }, fields };
  },
  own_addresses: (key) => {
    const { netns, ip } = maps.own_addresses.decodeKey(key);
    const id = String(numberOf(netns));
    // Only the key counts.
    return {
      entry: `network namespace ${id}, own address ${addressText(ip) ?? '::'}`,
      of: { kind: 'netns', id },
      fields: {},
    };
  },
  port_rules: (key) => {
    const { workload, port, kind } = maps.port_rules.decodeKey(key);
    const id = String(numberOf(workload));
    // Only the key counts.
    return {
      entry: `workload ${id}, ${nameIn(PortRuleKind, kind)} port ${port}`,
      of: { kind: 'cgroup', id },
      fields: {},
    };
  },
  excluded_cidrs: range('excluded'),
  included_cidrs: range('included'),
  settings: (key, value) => {
    return {
      entry: nameIn(Setting, maps.settings.decodeKey(key)),
      of: { kind: 'node', id: '' },
      fields: { ztunnel: addressText(maps.settings.decodeValue(value).ip) ?? NONE },
    };
  },
  config: (_key, value) => {
    const { ztunnelIPv4: _4, ztunnelIPv6: _6, ...settings } = decodeConfig(value);
    const fields = Object.fromEntries(Object.entries(settings).map(([name, setting]) => [name, String(setting)]));
    return { entry: 'the one entry', of: { kind: 'node', id: '' }, fields };
  },
};
