// Which pod is told that an entry could not be written.
import { describe, expect, it } from 'vitest';
import { maps } from '../src/generated/maps.js';
import { NOT_IN_MESH, ownerOfEntry, type CgroupInfo } from '../src/index.js';

describe('the owner of an entry', () => {
  const info: CgroupInfo = { id: 100n, inMesh: true, ip: '10.0.0.2', flags: 0, detectedFlags: 0 };
  const ownerIn = (entry: CgroupInfo): bigint | undefined =>
    ownerOfEntry(
      { map: 'netns_info_map', key: maps.netns_info_map.encodeKey(7n).toString('hex') },
      { cgroups: new Map(), netns: new Map([[7n, entry]]), localPods: new Map() },
    );

  it('is the pod whose namespace it is', () => {
    expect(ownerIn(info)).toBe(100n);
  });

  it('is nobody while a pod enters or leaves, so that the failure is the node’s', () => {
    expect(ownerIn(NOT_IN_MESH)).toBeUndefined();
  });
});
