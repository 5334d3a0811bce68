// Questions to the kernel that runs the tests: about what every kernel since 5.8 has, and what none has.
import { readdirSync } from 'node:fs';
import { requires } from '@sluice/testbed';
import { describe, expect, it } from 'vitest';
import { openObject, probeHelper, probeLink, probeMapType, probeProgram } from '../src/index.js';
import { objectPath } from './support/objects.js';

const need = requires('root', 'bpf');

describe.skipIf(need.skip)(`what the kernel has${need.label}`, () => {
  it('knows types of programs, and which attach types go with them', () => {
    expect(probeProgram('cgroup_sock_addr', 'cgroup_inet4_connect')).toBe(true);
    expect(probeProgram('cgroup_sock_addr', 'connect6')).toBe(true);
    expect(probeProgram('cgroup_sock_addr', 'cgroup_getsockopt')).toBe(false);
    expect(probeProgram('struct_ops', 'cgroup_getsockopt')).toBe(false);
  });

  it('knows helpers, by the type of program that calls them', () => {
    expect(probeHelper('cgroup_sock_addr', 'connect4', 'get_netns_cookie')).toBe(true);
    expect(probeHelper('sk_lookup', 'sk_lookup', 'sk_assign')).toBe(true);
    expect(probeHelper('cgroup_sock_addr', 'connect4', 'sk_assign')).toBe(false);
    expect(probeHelper('cgroup_sock_addr', 'getpeername4', 'set_retval')).toBe(false);
    // There is no such program, and so no helper in it.
    expect(probeHelper('cgroup_sock_addr', 'cgroup_getsockopt', 'map_lookup_elem')).toBe(false);
  });

  it('knows links and maps', () => {
    expect(probeLink('cgroup_sock_addr', 'connect4')).toBe(true);
    expect(probeLink('sk_lookup', 'sk_lookup')).toBe(true);
    expect(probeLink('cgroup_sock_addr', 'cgroup_getsockopt')).toBe(false);
    expect(probeMapType('sk_storage')).toBe(true);
    expect(probeMapType('ringbuf')).toBe(true);
  });

  it('refuses names that it does not know', () => {
    expect(() => probeProgram('cgroup_nothing', 'connect4')).toThrow("'cgroup_nothing' is no program type");
    expect(() => probeHelper('cgroup_sock_addr', 'connect4', 'no_such_helper')).toThrow('is no helper');
    expect(() => probeMapType('no_such_map')).toThrow('is no map type');
  });

  it('finds the helpers that an object calls', () => {
    using object = openObject(objectPath('maps'));
    const helpers = object.programDefinitions().flatMap((program) => program.helpers);
    expect(helpers).toEqual(['ringbuf_reserve', 'ringbuf_submit']);
    for (const helper of helpers) expect(probeHelper('cgroup_sock_addr', 'connect4', helper)).toBe(true);
  });

  it('accepts the number of a helper that it has no name for', () => {
    using object = openObject(objectPath('lacking'));
    const { type, attachType, helpers } = object.programDefinitions().find(({ name }) => name === 'newer') ?? {};
    expect(helpers).toEqual(['helper_99999']);
    expect(probeHelper(type ?? '', attachType ?? '', 'helper_99999')).toBe(false);
  });

  it('leaves nothing open', () => {
    const before = readdirSync('/proc/self/fd');
    probeHelper('cgroup_sock_addr', 'connect4', 'get_prandom_u32');
    probeHelper('cgroup_sock_addr', 'connect4', 'sk_assign');
    probeLink('cgroup_sock_addr', 'connect4');
    probeMapType('hash');
    expect(readdirSync('/proc/self/fd')).toEqual(before);
  });
});
