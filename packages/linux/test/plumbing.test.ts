// What is refused before anything is asked of the kernel. None of this needs root.
import { describe, expect, it } from 'vitest';
import {
  addRoute,
  addRule,
  deleteRule,
  readSysctl,
  routes,
  SystemCallError,
  tcFilters,
  writeSysctl,
  type PolicyRoute,
  type PolicyRule,
} from '../src/index.js';

// A namespace path that is not there: whoever gets as far as opening it fails with a SystemCallError.
const nowhere = '/proc/0/ns/net';

const rule: PolicyRule = { family: 4, priority: 32764, table: 100, fwmark: { value: 0x111, mask: 0xfff } };
const route: PolicyRoute = { family: 6, table: 100, type: 'local', destination: 'default', interface: 'lo' };

describe('arguments', () => {
  it.each<[string, Partial<PolicyRule>]>([
    ['a family that is none', { family: 5 as 4 }],
    ['a mark outside its mask', { fwmark: { value: 0x1111, mask: 0xfff } }],
    ['a mask of nothing', { fwmark: { value: 0, mask: 0 } }],
  ])('refuses a rule with %s', (_, wrong) => {
    expect(() => addRule(nowhere, { ...rule, ...wrong })).toThrow(RangeError);
    expect(() => deleteRule(nowhere, { ...rule, ...wrong })).toThrow(RangeError);
  });

  it.each<[string, Partial<PolicyRoute>]>([
    ['a family that is none', { family: 0 as 4 }],
    ['a type that is not known', { type: 'blackhole' as 'local' }],
    ['an address without a length', { destination: 'fd66::1' }],
    ['an address of the other family', { destination: '10.0.0.0/8' }],
    ['a prefix longer than an address', { destination: 'fd66::/129' }],
    ['a length that is no number', { destination: 'fd66::/-1' }],
  ])('refuses a route with %s', (_, wrong) => {
    expect(() => addRoute(nowhere, { ...route, ...wrong })).toThrow(RangeError);
  });

  it.each(['kernel.hostname', 'net', 'net.', 'net..core', 'net/../kernel/hostname', '', '/net/core'])(
    'refuses the sysctl name %j',
    (name) => {
      expect(() => readSysctl(nowhere, name)).toThrow(RangeError);
      expect(() => writeSysctl(nowhere, name, '1')).toThrow(RangeError);
    },
  );

  it('checks numbers and names before any system call', () => {
    const here = '/proc/self/ns/net';
    expect(() => routes(here, 0)).toThrow('table must be an integer from 1 to 4294967295');
    expect(() => tcFilters(here, 'lo\0')).toThrow(TypeError);
  });

  it('names a namespace that is not there', () => {
    for (const call of [() => addRule(nowhere, rule), () => addRoute(nowhere, route), () => routes(nowhere, 100)]) {
      expect(call).toThrow(SystemCallError);
      expect(call).toThrow('open /proc/0/ns/net: ENOENT');
    }
  });
});
