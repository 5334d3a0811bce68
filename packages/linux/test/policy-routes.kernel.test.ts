// Routes in a namespace of the test’s own, compared with what `ip route` shows.
import { requires } from '@sluice/testbed';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addRoute, addRule, deleteRoute, deleteRule, routes, writeSysctl, type PolicyRoute } from '../src/index.js';
import { failureOf, FAMILIES, NamedNetns, parsed, route, rule } from './support/plumbing.js';

const need = requires('root', 'netns');

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
    expect(addRoute(netns.open, route(4))).toBe('added');
    expect(deleteRoute(netns.open, route(6))).toBe('absent');
    expect(deleteRule(netns.open, rule(6))).toBe('deleted');
    writeSysctl(netns.open, 'net.ipv6.conf.all.disable_ipv6', '0');
    expect(addRoute(netns.open, route(6))).toBe('added');
  });
});
