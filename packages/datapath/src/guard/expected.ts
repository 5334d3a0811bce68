// The pods that the guard expects in the mesh, by their pod-level cgroups.
import type { BpfMap } from '@sluice/libbpf';
import { maps } from '../generated/maps.js';

export function readExpected(map: BpfMap): ReadonlySet<bigint> {
  return new Set([...map.keys()].map((key) => maps.expected_cgroups.decodeKey(key)));
}
