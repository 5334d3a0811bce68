// Routes in a namespace of the test’s own, compared with what `ip route` shows.
import { requires } from '@sluice/testbed';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addRoute, addRule, deleteRoute, deleteRule, routes, writeSysctl, type PolicyRoute } from '../src/index.js';
import { failureOf, FAMILIES, NamedNetns, parsed, route, rule } from './support/plumbing.js';

const need = requires('root', 'netns');
const nowhere6: PolicyRoute = { family: 6, table: 100, type: 'unreachable', destination: 'default' };
/** So that an IPv6 address can be used at once. */
const nodad = (family: 4 | 6): string[] => (family === 6 ? ['nodad'] : []);

describe.skipIf(need.skip)(`policy routes${need.label}`, () => {
  let netns: NamedNetns;
  beforeEach(() => {
    netns = new NamedNetns();
  });
  afterEach(() => netns?.remove());

  it.each(FAMILIES)('adds and deletes the IPv%d route, once', (family) => {
    expect(addRoute(netns.open, route(family))).toBe('added');
    expect(addRoute(netns.open, route(family))).toBe('present');
    const listed = { type: 'local', dst: 'default', dev: 'lo', protocol: 'static' };
    expect(netns.routes(family)).toEqual([
      expect.objectContaining(family === 4 ? { ...listed, scope: 'host' } : listed),
    ]);
    expect(routes(netns.open, 100)).toEqual([
      {
        family,
        table: 100,
        type: 'local',
        destination: 'default',
        interface: 'lo',
        metric: family === 4 ? 0 : 1024,
        protocol: 4,
        scope: family === 4 ? 254 : 0,
        others: [],
      },
    ]);
    expect(deleteRoute(netns.open, route(family))).toBe('deleted');
    expect(deleteRoute(netns.open, route(family))).toBe('absent');
    expect(netns.routes(family)).toEqual([]);
    expect(routes(netns.open, 100)).toEqual([]);
  });

  it.each([
    [4, '10.20.0.0/16'],
    [6, 'fd66:20::/48'],
  ] as const)('accepts an IPv%d prefix, a metric and a large table', (family, destination) => {
    netns.addWire();
    const wanted: PolicyRoute = { family, table: 70_000, type: 'unicast', destination, interface: 'wire', metric: 7 };
    expect(addRoute(netns.open, wanted)).toBe('added');
    const [listed] = parsed(netns.ip(`-${family}`, '-json', 'route', 'show', 'table', '70000')) as object[];
    expect(listed).toMatchObject({ dst: destination, dev: 'wire', metric: 7 });
    expect(routes(netns.open, 70_000)).toContainEqual(expect.objectContaining(wanted));
    expect(deleteRoute(netns.open, { ...wanted, metric: 8 })).toBe('absent');
    expect(deleteRoute(netns.open, wanted)).toBe('deleted');
  });

  it.each([
    [4, '10.20.0.7', '10.20.0.8'],
    [6, 'fd66:20::7', 'fd66:20::8'],
  ] as const)('adds an IPv%d route with a source address, and tells it from one with another', (family, one, other) => {
    netns.addWire();
    const length = family === 4 ? 24 : 64;
    for (const address of [one, other])
      netns.ip('address', 'add', `${address}/${length}`, 'dev', 'wire', ...nodad(family));
    const wanted: PolicyRoute & { type: 'local' } = {
      family,
      table: 101,
      type: 'local',
      destination: 'default',
      interface: 'lo',
      source: one,
    };
    const another: PolicyRoute = { ...wanted, source: other };
    expect(addRoute(netns.open, wanted)).toBe('added');
    expect(addRoute(netns.open, wanted)).toBe('present');
    expect(netns.routes(family, 101)).toEqual([
      expect.objectContaining({ type: 'local', dst: 'default', prefsrc: one }),
    ]);
    expect(routes(netns.open, 101)).toEqual([expect.objectContaining({ ...wanted, protocol: 4, others: [] })]);
    // The place is taken, also by one without a source.
    const { source: _source, ...unnamed } = wanted;
    for (const route of [another, unnamed]) {
      expect(failureOf(() => addRoute(netns.open, route))).toMatchObject({ code: 'EEXIST' });
      expect(deleteRoute(netns.open, route)).toBe('absent');
    }
    expect(deleteRoute(netns.open, wanted)).toBe('deleted');
    expect(addRoute(netns.open, another)).toBe('added');
    const nobodys = family === 4 ? '10.99.0.1' : 'fd99::1';
    expect(failureOf(() => addRoute(netns.open, { ...wanted, table: 102, source: nobodys }))).toMatchObject({
      code: 'EINVAL',
      message: expect.stringContaining(`src ${nobodys} table 102`),
    });
    expect(deleteRoute(netns.open, another)).toBe('deleted');
    expect(netns.routes(family, 101)).toEqual([]);
  });

  it.each(FAMILIES)('adds and deletes the IPv%d route that leads nowhere', (family) => {
    const nowhere: PolicyRoute = { family, table: 101, type: 'unreachable', destination: 'default' };
    expect(addRoute(netns.open, nowhere)).toBe('added');
    expect(addRoute(netns.open, nowhere)).toBe('present');
    expect(netns.routes(family, 101)).toEqual([expect.objectContaining({ type: 'unreachable', dst: 'default' })]);
    expect(routes(netns.open, 101)).toEqual([expect.objectContaining({ ...nowhere, protocol: 4, others: [] })]);
    const local: PolicyRoute = { family, table: 101, type: 'local', destination: 'default', interface: 'lo' };
    expect(failureOf(() => addRoute(netns.open, local))).toMatchObject({ code: 'EEXIST' });
    expect(deleteRoute(netns.open, local)).toBe('absent');
    expect(deleteRoute(netns.open, { ...nowhere, protocol: 3 })).toBe('absent');
    expect(deleteRoute(netns.open, nowhere)).toBe('deleted');
    expect(deleteRoute(netns.open, nowhere)).toBe('absent');
    expect(netns.routes(family, 101)).toEqual([]);
  });

  it('never deletes a similar route that stands before its own', () => {
    netns.addWire();
    netns.ip('address', 'add', '10.20.0.7/24', 'dev', 'wire');
    const withSource = ['local', 'default', 'dev', 'lo', 'src', '10.20.0.7', 'table', '100', 'protocol', 'static'];
    netns.ip('route', 'add', ...withSource);
    netns.ip('route', 'append', 'local', 'default', 'dev', 'lo', 'table', '100', 'protocol', 'static');
    expect(addRoute(netns.open, route(4))).toBe('present');
    // The kernel would delete the first of the two.
    expect(failureOf(() => deleteRoute(netns.open, route(4)))).toMatchObject({ code: 'EBUSY', syscall: 'rtnetlink' });
    expect(netns.routes(4)).toHaveLength(2);
    netns.ip('route', 'delete', ...withSource);
    expect(deleteRoute(netns.open, route(4))).toBe('deleted');
    expect(netns.routes(4)).toEqual([]);
  });

  it('does not take another route to the same destination for its own', () => {
    netns.addWire();
    netns.ip('route', 'add', 'default', 'dev', 'wire', 'table', '100');
    const failure = failureOf(() => addRoute(netns.open, route(4)));
    expect(failure).toMatchObject({ code: 'EEXIST', syscall: 'rtnetlink' });
    expect(failure.message).toContain('0.0.0.0/0 dev lo table 100');
    expect(deleteRoute(netns.open, route(4))).toBe('absent');
    expect(netns.routes(4)).toHaveLength(1);
  });

  it('leaves the same route of another origin when asked for its own', () => {
    netns.ip('route', 'add', 'local', 'default', 'dev', 'lo', 'table', '100');
    expect(addRoute(netns.open, route(4))).toBe('present');
    expect(deleteRoute(netns.open, { ...route(4), protocol: 4 })).toBe('absent');
    expect(deleteRoute(netns.open, route(4))).toBe('deleted');
  });

  it('reports a device that does not exist, and one that is down', () => {
    expect(failureOf(() => addRoute(netns.open, { ...route(4), interface: 'eth7' })).message).toMatch(
      /if_nametoindex .* \(eth7\): ENODEV; the namespace has no interface of that name/,
    );
    netns.addWire(false);
    const down: PolicyRoute = { ...route(4), type: 'unicast', interface: 'wire' };
    expect(failureOf(() => addRoute(netns.open, down)).message).toContain('"Device for nexthop is not up": ENETDOWN');
    expect(deleteRoute(netns.open, { ...route(4), interface: 'eth7' })).toBe('absent');
  });
});

describe.skipIf(need.skip)(`without IPv6${need.label}`, () => {
  let netns: NamedNetns;
  beforeEach(() => {
    netns = new NamedNetns();
  });
  afterEach(() => netns?.remove());

  it('reports a namespace that has IPv6 switched off, and goes on', () => {
    writeSysctl(netns.open, 'net.ipv6.conf.all.disable_ipv6', '1');
    // The kernel keeps IPv6 rules nevertheless: they are useless and harmless.
    expect(addRule(netns.open, rule(6))).toBe('added');
    expect(addRoute(netns.open, route(6))).toBe('ipv6-disabled');
    // One that leads nowhere needs no address and no device.
    expect(addRoute(netns.open, nowhere6)).toBe('added');
    expect(deleteRoute(netns.open, nowhere6)).toBe('deleted');
    expect(addRoute(netns.open, route(4))).toBe('added');
    expect(deleteRoute(netns.open, route(6))).toBe('absent');
    expect(deleteRule(netns.open, rule(6))).toBe('deleted');
    writeSysctl(netns.open, 'net.ipv6.conf.all.disable_ipv6', '0');
    expect(addRoute(netns.open, route(6))).toBe('added');
  });
});
