// The maps that are found in a program's instructions are the maps that the kernel finds in it.
import { mapAccesses, openObject } from '@sluice/libbpf';
import { requires } from '@sluice/testbed';
import { describe, expect, it } from 'vitest';
import { GUARD_OBJECT_PATH, INBOUND_OBJECT_PATH, OBJECT_PATH } from '../src/layout.js';

const need = requires('root', 'bpf');

describe.skipIf(need.skip)(`the maps of each program${need.label}`, () => {
  it.each([OBJECT_PATH, INBOUND_OBJECT_PATH, GUARD_OBJECT_PATH])('%s', (path) => {
    using object = openObject(path);
    object.load();
    const names = new Map(object.maps().map(({ id, name }) => [id, name]));
    const accesses = mapAccesses(path);
    for (const program of object.programs()) {
      // The kernel counts a program's variables as maps, too.
      const used = program.info().mapIds.flatMap((id) => names.get(id) ?? []);
      const found = accesses.filter((access) => access.program === program.name).map(({ map }) => map);
      expect([program.name, new Set(found)]).toEqual([program.name, new Set(used)]);
    }
  });
});
