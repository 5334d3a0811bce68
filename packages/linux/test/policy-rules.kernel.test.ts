// Policy rules in a namespace of the test’s own, compared with what `ip rule` shows.
import { requires } from '@sluice/testbed';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addRule, deleteRule, rules, type PolicyRule } from '../src/index.js';
import { failureOf, FAMILIES, NamedNetns, rule } from './support/plumbing.js';

const need = requires('root', 'netns');

describe.skipIf(need.skip)(`policy rules${need.label}`, () => {
  let netns: NamedNetns;
  beforeEach(() => {
    netns = new NamedNetns();
  });
  afterEach(() => netns?.remove());

  it.each(FAMILIES)('adds and deletes an IPv%d rule, once', (family) => {
    const before = netns.rules(family);
    expect(addRule(netns.open, rule(family))).toBe('added');
    expect(addRule(netns.open, rule(family))).toBe('present');
    expect(netns.rules(family)).toContain('32764:\tfrom all fwmark 0x111/0xfff lookup 100 proto static');
    expect(netns.rules(family)).toHaveLength(before.length + 1);
    expect(deleteRule(netns.open, rule(family))).toBe('deleted');
    expect(deleteRule(netns.open, rule(family))).toBe('absent');
    expect(netns.rules(family)).toEqual(before);
  });

  it('lists what iproute2 lists, in its order', () => {
    netns.ip('rule', 'add', 'fwmark', '0x7', 'lookup', '70', 'priority', '70');
    netns.ip('rule', 'add', 'not', 'from', '10.0.0.0/8', 'iif', 'lo', 'lookup', '1000', 'priority', '71');
    netns.ip('rule', 'add', 'priority', '72', 'blackhole');
    netns.ip('rule', 'add', 'priority', '73', 'lookup', 'main', 'suppress_prefixlength', '0');
    netns.ip(
      '-6',
      'rule',
      'add',
      'uidrange',
      '0-7',
      'ipproto',
      'tcp',
      'dport',
      '80-90',
      'lookup',
      '74',
      'priority',
      '74',
    );
    expect(rules(netns.open).filter(({ family }) => family === 4)).toEqual([
      { family: 4, priority: 0, table: 255, protocol: 2, action: 'lookup', others: [] },
      {
        family: 4,
        priority: 70,
        table: 70,
        protocol: expect.any(Number),
        action: 'lookup',
        others: [],
        fwmark: { value: 7, mask: 0xffffffff },
      },
      {
        family: 4,
        priority: 71,
        table: 1000,
        protocol: expect.any(Number),
        action: 'lookup',
        others: expect.arrayContaining(['not', 'from', 'iif']),
      },
      {
        family: 4,
        priority: 72,
        table: expect.any(Number),
        protocol: expect.any(Number),
        action: 'blackhole',
        others: [],
      },
      { family: 4, priority: 73, table: 254, protocol: expect.any(Number), action: 'lookup', others: ['suppress'] },
      { family: 4, priority: 32766, table: 254, protocol: 2, action: 'lookup', others: [] },
      { family: 4, priority: 32767, table: 253, protocol: 2, action: 'lookup', others: [] },
    ]);
    const six = rules(netns.open).find(({ family, priority }) => family === 6 && priority === 74);
    expect(six?.others.toSorted()).toEqual(['dport', 'ipproto', 'uidrange']);
  });

  it('takes the same rule of another origin for present, and leaves it when asked for its own', () => {
    netns.ip('rule', 'add', 'fwmark', '0x111/0xfff', 'lookup', '100', 'priority', '32764'); // of no protocol
    expect(addRule(netns.open, rule(4))).toBe('present');
    expect(deleteRule(netns.open, { ...rule(4), protocol: 4 })).toBe('absent');
    netns.ip('rule', 'add', 'fwmark', '0x111/0xfff', 'lookup', '100', 'priority', '32764', 'protocol', 'static');
    expect(deleteRule(netns.open, { ...rule(4), protocol: 4 })).toBe('deleted');
    expect(netns.rules(4)).toContain('32764:\tfrom all fwmark 0x111/0xfff lookup 100');
    expect(deleteRule(netns.open, rule(4))).toBe('deleted');
    expect(deleteRule(netns.open, rule(4))).toBe('absent');
  });

  it('never deletes a rule that has more conditions', () => {
    netns.ip('rule', 'add', 'from', '10.1.0.0/16', 'fwmark', '0x111/0xfff', 'lookup', '100', 'priority', '32764');
    const before = netns.rules(4);
    expect(deleteRule(netns.open, rule(4))).toBe('absent');
    const narrower = ['iif', 'lo', 'fwmark', '0x111/0xfff', 'lookup', '100', 'priority', '32764', 'protocol', 'static'];
    netns.ip('rule', 'add', ...narrower);
    expect(deleteRule(netns.open, rule(4))).toBe('absent');
    // Ours comes after it: the kernel would delete the first of the two.
    expect(addRule(netns.open, rule(4))).toBe('added');
    expect(failureOf(() => deleteRule(netns.open, rule(4)))).toMatchObject({ code: 'EBUSY', syscall: 'rtnetlink' });
    expect(netns.rules(4)).toHaveLength(before.length + 2);
    netns.ip('rule', 'delete', ...narrower);
    expect(deleteRule(netns.open, rule(4))).toBe('deleted');
    expect(netns.rules(4)).toEqual(before);
  });

  it.each(FAMILIES)('adds and deletes an IPv%d rule that makes sending fail, beside a lookup of its mark', (family) => {
    const before = netns.rules(family);
    const stop: PolicyRule = { family, priority: 2, action: 'unreachable', fwmark: { value: 0x40, mask: 0x40 } };
    const lookup: PolicyRule = { ...stop, action: 'lookup', table: 101 };
    expect(addRule(netns.open, stop)).toBe('added');
    expect(addRule(netns.open, stop)).toBe('present');
    expect(netns.rules(family)).toContain('2:\tfrom all fwmark 0x40/0x40 unreachable proto static');
    expect(rules(netns.open)).toContainEqual({ ...stop, table: 0, protocol: 4, others: [] });
    expect(deleteRule(netns.open, lookup)).toBe('absent');
    expect(addRule(netns.open, lookup)).toBe('added');
    expect(deleteRule(netns.open, stop)).toBe('deleted');
    expect(deleteRule(netns.open, stop)).toBe('absent');
    expect(netns.rules(family)).toContain('2:\tfrom all fwmark 0x40/0x40 lookup 101 proto static');
    expect(deleteRule(netns.open, lookup)).toBe('deleted');
    expect(netns.rules(family)).toEqual(before);
  });

  it('takes the unreachable rule of iproute2 for the same, and no narrower one', () => {
    const stop: PolicyRule = { family: 4, priority: 2, action: 'unreachable', fwmark: { value: 0x40, mask: 0x40 } };
    const words = ['fwmark', '0x40/0x40', 'priority', '2', 'unreachable'];
    netns.ip('rule', 'add', ...words); // in table main, as iproute2 writes it, which means nothing
    expect(addRule(netns.open, stop)).toBe('present');
    expect(deleteRule(netns.open, { ...stop, protocol: 4 })).toBe('absent');
    expect(deleteRule(netns.open, stop)).toBe('deleted');
    netns.ip('rule', 'add', 'iif', 'lo', ...words, 'protocol', 'static');
    expect(deleteRule(netns.open, stop)).toBe('absent');
    expect(addRule(netns.open, stop)).toBe('added');
    expect(failureOf(() => deleteRule(netns.open, stop))).toMatchObject({ code: 'EBUSY' });
    netns.ip('rule', 'delete', 'iif', 'lo', ...words);
    expect(deleteRule(netns.open, stop)).toBe('deleted');
  });

  it('adds one for every packet, and one in any table', () => {
    const every: PolicyRule = { family: 4, priority: 7, table: 0xffff_fff0 };
    expect(addRule(netns.open, every)).toBe('added');
    expect(netns.rules(4)).toContain('7:\tfrom all lookup 4294967280 proto static');
    expect(rules(netns.open)).toContainEqual({ ...every, protocol: 4, action: 'lookup', others: [] });
    expect(deleteRule(netns.open, every)).toBe('deleted');
  });
});
