// What is said about a program of somebody else at connect(). packages/datapath tests which programs are found.
import { fileURLToPath } from 'node:url';
import { openObject } from '@sluice/libbpf';
import { requires, TestNode } from '@sluice/testbed';
import { describe, expect, it } from 'vitest';
import { foreignConnect } from '../src/node/foreign-connect.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');
const OBJECT = fileURLToPath(new URL('../../datapath/build/test/foreign.bpf.o', import.meta.url));

describe.skipIf(need.skip)(`a program of somebody else at connect()${need.label}`, () => {
  it('is named with its cgroup and a remedy while it is attached above the pods', async () => {
    await using node = await TestNode.create({ remotePorts: [], remoteDns: false });
    const pods = ['pod1', 'pod2'].map((name) => node.cgroup.child('kubepods').child(name).path);
    using object = openObject(OBJECT);
    object.load();
    const place = node.cgroup.child('kubepods').path;
    const said = (): string | undefined => foreignConnect('/sys/fs/bpf/there-is-none', pods);
    expect(said()).toBe(undefined);
    const link = object.program('foreign_connect4').attachCgroup(place);
    const { programId } = link.info();
    const remedy = 'switch off the load balancer that it belongs to (docs/platforms.md), or detach it';
    expect(said()).toBe(
      `the program foreign_connect (id ${programId}, connect4) at cgroup ${place} may change destinations after Sluice; ${remedy}`,
    );
    using second = object.program('foreign_connect6').attachCgroup(node.cgroup.path);
    expect(said()).toContain(`at cgroup ${place}, with 1 more like it, may change`);
    link.close();
    expect(said()).toContain(`(id ${second.info().programId}, connect6) at cgroup ${node.cgroup.path} may change`);
    second.close();
    expect(said()).toBe(undefined);
    expect(foreignConnect('/sys/fs/bpf/there-is-none', [])).toBe(undefined);
  });
});
