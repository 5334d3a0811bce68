// To which pod an entry of a map belongs, for what could not be written.
import { addressText } from './address.js';
import type { ApplyFailure } from './apply.js';
import { NOT_IN_MESH, type DesiredMaps } from './desired.js';
import { numberOf, type WrittenMap } from './entries.js';
import { maps } from './generated/maps.js';

/** The cgroup whose entry it is; undefined if it is another map's. Pure. */
export const cgroupOfEntry = ({ map, key }: Pick<ApplyFailure, 'map' | 'key'>): bigint | undefined =>
  map === 'cgroup_info_map' ? maps.cgroup_info_map.decodeKey(Buffer.from(key, 'hex')) : undefined;

/** The cookie of the network namespace whose entry it is; undefined if it is another map's. Pure. */
export const netnsOfEntry = ({ map, key }: Pick<ApplyFailure, 'map' | 'key'>): bigint | undefined =>
  map === 'netns_info_map' ? maps.netns_info_map.decodeKey(Buffer.from(key, 'hex')) : undefined;

/**
 * The workload id of an entry's pod; undefined if it belongs to no pod, or to none that is wanted. Pure.
 * @param key hexadecimal, as in {@link ApplyFailure}
 */
export function ownerOfEntry(
  { map, key }: { readonly map: WrittenMap; readonly key: string },
  desired: Pick<DesiredMaps, 'cgroups' | 'netns' | 'localPods'>,
): bigint | undefined {
  const bytes = Buffer.from(key, 'hex');
  const ofNetns = (cookie: bigint | undefined): bigint | undefined => {
    const id = cookie === undefined ? undefined : desired.netns.get(cookie)?.id;
    return id === NOT_IN_MESH.id ? undefined : id;
  };
  switch (map) {
    case 'cgroup_info_map':
      return desired.cgroups.get(maps.cgroup_info_map.decodeKey(bytes))?.id;
    case 'netns_info_map':
      return ofNetns(maps.netns_info_map.decodeKey(bytes));
    case 'pod_addresses':
      return ofNetns(maps.pod_addresses.decodeKey(bytes));
    case 'own_addresses':
      return ofNetns(numberOf(maps.own_addresses.decodeKey(bytes).netns));
    case 'local_pods':
      return ofNetns(desired.localPods.get(addressText(maps.local_pods.decodeKey(bytes).ip) ?? '::')?.netnsCookie);
    case 'port_rules':
      return numberOf(maps.port_rules.decodeKey(bytes).workload);
    case 'excluded_cidrs':
    case 'included_cidrs':
      return numberOf(maps.excluded_cidrs.decodeKey(bytes).workload);
    case 'settings':
      return undefined;
  }
}
