// What is refused before the kernel is asked. None of this needs root.
import { closeSync, openSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import {
  addRoute,
  addRule,
  deleteRule,
  readSysctl,
  routes,
  SystemCallError,
  tcFilters,
  writeSysctl,
  type Netns,
  type PolicyRoute,
  type PolicyRule,
} from '../src/index.js';

// It is open, and not a namespace: a call that gets as far as entering it fails with a SystemCallError.
const nowhere = { fd: openSync('/dev/null', 'r'), path: '/dev/null' } as unknown as Netns;
afterAll(() => closeSync(nowhere.fd));

const rule: PolicyRule = { family: 4, priority: 32764, table: 100, fwmark: { value: 0x111, mask: 0xfff } };
const route: PolicyRoute = { family: 6, table: 100, type: 'local', destination: 'default', interface: 'lo' };

describe('arguments', () => {
  it.each<[string, object]>([
    ['a family that is none', { family: 5 }],
    ['a mark outside its mask', { fwmark: { value: 0x1111, mask: 0xfff } }],
    ['a mask of nothing', { fwmark: { value: 0, mask: 0 } }],
    ['no table to look into', { table: undefined }],
    ['an action that is not known', { action: 'blackhole' }],
    ['a table that is not looked into', { action: 'unreachable' }],
  ])('refuses a rule with %s', (_, wrong) => {
    expect(() => addRule(nowhere, { ...rule, ...wrong })).toThrow(RangeError);
    expect(() => deleteRule(nowhere, { ...rule, ...wrong })).toThrow(RangeError);
  });

  it.each<[string, object]>([
    ['a family that is none', { family: 0 }],
    ['a type that is not known', { type: 'blackhole' }],
    ['an address without a length', { destination: 'fd66::1' }],
    ['an address of the other family', { destination: '10.0.0.0/8' }],
    ['a prefix longer than an address', { destination: 'fd66::/129' }],
    ['a length that is no number', { destination: 'fd66::/-1' }],
    ['a source of the other family', { source: '10.0.0.1' }],
    ['no interface to lead to', { interface: undefined }],
    ['an interface, and leads nowhere', { type: 'unreachable' }],
    ['a source, and leads nowhere', { type: 'unreachable', interface: undefined, source: 'fd66::1' }],
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
    expect(() => routes(nowhere, 0)).toThrow('table must be an integer from 1 to 4294967295');
    expect(() => tcFilters(nowhere, 'lo\0')).toThrow(TypeError);
  });

  it('names what is not a namespace', () => {
    for (const call of [() => addRule(nowhere, rule), () => addRoute(nowhere, route), () => routes(nowhere, 100)]) {
      expect(call).toThrow(SystemCallError);
      expect(call).toThrow('setns /dev/null: EINVAL');
    }
  });
});
