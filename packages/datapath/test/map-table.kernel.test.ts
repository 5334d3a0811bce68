// The maps that are found in a program's instructions are the maps that the kernel finds in it.
import { mapAccesses, openObject } from '@sluice/libbpf';
import { requires } from '@sluice/testbed';
import { describe, expect, it } from 'vitest';
import { parts } from '../src/guard/parts.js';
import { GUARD_OBJECT_PATH, INBOUND_OBJECT_PATH, OBJECT_PATH } from '../src/layout.js';
import { canRefuseListen } from './guarded-node.js';

const need = requires('root', 'bpf');
const canLoad = (program: string): boolean => canRefuseListen || program !== parts.refuse_listen.program;

describe.skipIf(need.skip)(`the maps of each program${need.label}`, () => {
  it.each([OBJECT_PATH, INBOUND_OBJECT_PATH, GUARD_OBJECT_PATH])('%s', (path) => {
    using object = openObject(path, { autoload: canLoad });
    object.load();
    const names = new Map(object.maps().map(({ id, name }) => [id, name]));
    const accesses = mapAccesses(path);
    for (const program of object.programs().filter(({ name }) => canLoad(name))) {
      // The kernel counts a program's variables as maps, too.
      const used = program.info().mapIds.flatMap((id) => names.get(id) ?? []);
      const found = accesses.filter((access) => access.program === program.name).map(({ map }) => map);
      expect([program.name, new Set(found)]).toEqual([program.name, new Set(used)]);
    }
  });
});
