// Rules, routes, filters and sysctls in a namespace of the test's own, compared with what iproute2 says of them.
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { openObject, type BpfObject } from '@sluice/libbpf';
import { requires } from '@sluice/testbed';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  addRoute,
  addRule,
  attachTc,
  deleteRoute,
  deleteRule,
  detachTc,
  readSysctl,
  routes,
  rules,
  SystemCallError,
  tcFilters,
  writeSysctl,
  type PolicyRoute,
  type PolicyRule,
} from '../src/index.js';

const need = requires('root', 'bpf', 'netns');
const FAMILIES = [4, 6] as const;
type Family = (typeof FAMILIES)[number];

const rule = (family: Family): PolicyRule => ({
  family,
  priority: 32764,
  table: 100,
  fwmark: { value: 0x111, mask: 0xfff },
});
const route = (family: Family): PolicyRoute => ({
  family,
  table: 100,
  type: 'local',
  destination: 'default',
  interface: 'lo',
});
/** A filter of another kind, which matches everything. */
const U32 = ['u32', 'match', 'u32', '0', '0', 'classid', '1:1'];
const ours = { name: 'sluice_lo', priority: 100, handle: 1 };

let name: string;
let path: string;

const ip = (...words: string[]): string => execFileSync('ip', ['-n', name, ...words], { encoding: 'utf8' });
const tc = (...words: string[]): string => execFileSync('tc', ['-n', name, ...words], { encoding: 'utf8' });
const json = (text: string): unknown => JSON.parse(text === '' ? '[]' : text);
const ipRules = (family: Family): string[] => ip(`-${family}`, 'rule').split('\n').filter(Boolean);
const ipRoutes = (family: Family): unknown => {
  try {
    return json(ip(`-${family}`, '-json', '-details', 'route', 'show', 'table', '100'));
  } catch {
    return []; // "FIB table does not exist."
  }
};

function failureOf(body: () => unknown): SystemCallError {
  try {
    body();
  } catch (error) {
    expect(error).toBeInstanceOf(SystemCallError);
    return error as SystemCallError;
  }
  throw new Error('it did not fail');
}

function makeNamespace(): void {
  name = `sluice-plumbing-${randomBytes(4).toString('hex')}`;
  path = `/run/netns/${name}`;
  execFileSync('ip', ['netns', 'add', name]);
  ip('link', 'set', 'lo', 'up');
}

function removeNamespace(): void {
  execFileSync('ip', ['netns', 'delete', name]);
}

describe.skipIf(need.skip)(`policy rules${need.label}`, () => {
  beforeEach(makeNamespace);
  afterEach(removeNamespace);

  it.each(FAMILIES)('adds and deletes an IPv%d rule, once', (family) => {
    const before = ipRules(family);
    expect(addRule(path, rule(family))).toBe('added');
    expect(addRule(path, rule(family))).toBe('present');
    expect(ipRules(family)).toContain('32764:\tfrom all fwmark 0x111/0xfff lookup 100 proto static');
    expect(ipRules(family)).toHaveLength(before.length + 1);
    expect(deleteRule(path, rule(family))).toBe('deleted');
    expect(deleteRule(path, rule(family))).toBe('absent');
    expect(ipRules(family)).toEqual(before);
  });

  it('lists what iproute2 lists, in its order', () => {
    ip('rule', 'add', 'fwmark', '0x7', 'lookup', '70', 'priority', '70');
    ip('rule', 'add', 'not', 'from', '10.0.0.0/8', 'iif', 'lo', 'lookup', '1000', 'priority', '71');
    ip('rule', 'add', 'priority', '72', 'blackhole');
    ip('rule', 'add', 'priority', '73', 'lookup', 'main', 'suppress_prefixlength', '0');
    ip('-6', 'rule', 'add', 'uidrange', '0-7', 'ipproto', 'tcp', 'dport', '80-90', 'lookup', '74', 'priority', '74');
    expect(rules(path).filter(({ family }) => family === 4)).toEqual([
      { family: 4, priority: 0, table: 255, protocol: 2, lookup: true, others: [] },
      {
        family: 4,
        priority: 70,
        table: 70,
        protocol: 0,
        lookup: true,
        others: [],
        fwmark: { value: 7, mask: 0xffffffff },
      },
      {
        family: 4,
        priority: 71,
        table: 1000,
        protocol: 0,
        lookup: true,
        others: expect.arrayContaining(['not', 'from', 'iif']),
      },
      { family: 4, priority: 72, table: expect.any(Number), protocol: 0, lookup: false, others: [] },
      { family: 4, priority: 73, table: 254, protocol: 0, lookup: true, others: ['suppress'] },
      { family: 4, priority: 32766, table: 254, protocol: 2, lookup: true, others: [] },
      { family: 4, priority: 32767, table: 253, protocol: 2, lookup: true, others: [] },
    ]);
    const six = rules(path).find(({ family, priority }) => family === 6 && priority === 74);
    expect(six?.others.toSorted()).toEqual(['dport', 'ipproto', 'uidrange']);
  });

  it('takes the same rule of another for present, and leaves it when asked for its own', () => {
    ip('rule', 'add', 'fwmark', '0x111/0xfff', 'lookup', '100', 'priority', '32764'); // of no protocol
    expect(addRule(path, rule(4))).toBe('present');
    expect(deleteRule(path, { ...rule(4), protocol: 4 })).toBe('absent');
    ip('rule', 'add', 'fwmark', '0x111/0xfff', 'lookup', '100', 'priority', '32764', 'protocol', 'static');
    expect(deleteRule(path, { ...rule(4), protocol: 4 })).toBe('deleted');
    expect(ipRules(4)).toContain('32764:\tfrom all fwmark 0x111/0xfff lookup 100');
    expect(deleteRule(path, rule(4))).toBe('deleted');
    expect(deleteRule(path, rule(4))).toBe('absent');
  });

  it('never deletes a rule that has more conditions', () => {
    ip('rule', 'add', 'from', '10.1.0.0/16', 'fwmark', '0x111/0xfff', 'lookup', '100', 'priority', '32764');
    const before = ipRules(4);
    expect(deleteRule(path, rule(4))).toBe('absent');
    const narrower = ['iif', 'lo', 'fwmark', '0x111/0xfff', 'lookup', '100', 'priority', '32764', 'protocol', 'static'];
    ip('rule', 'add', ...narrower);
    expect(deleteRule(path, rule(4))).toBe('absent');
    // Ours behind it: the kernel would take the first of the two.
    expect(addRule(path, rule(4))).toBe('added');
    expect(failureOf(() => deleteRule(path, rule(4)))).toMatchObject({ code: 'EBUSY', syscall: 'rtnetlink' });
    expect(ipRules(4)).toHaveLength(before.length + 2);
    ip('rule', 'delete', ...narrower);
    expect(deleteRule(path, rule(4))).toBe('deleted');
    expect(ipRules(4)).toEqual(before);
  });

  it('adds one for every packet, and in any table', () => {
    const every: PolicyRule = { family: 4, priority: 7, table: 0xffff_fff0 };
    expect(addRule(path, every)).toBe('added');
    expect(ipRules(4)).toContain('7:\tfrom all lookup 4294967280 proto static');
    expect(rules(path)).toContainEqual({ ...every, protocol: 4, lookup: true, others: [] });
    expect(deleteRule(path, every)).toBe('deleted');
  });
});

describe.skipIf(need.skip)(`policy routes${need.label}`, () => {
  beforeEach(makeNamespace);
  afterEach(removeNamespace);

  it.each(FAMILIES)('adds and deletes the IPv%d route, once', (family) => {
    expect(addRoute(path, route(family))).toBe('added');
    expect(addRoute(path, route(family))).toBe('present');
    const listed = { type: 'local', dst: 'default', dev: 'lo', protocol: 'static' };
    expect(ipRoutes(family)).toEqual([expect.objectContaining(family === 4 ? { ...listed, scope: 'host' } : listed)]);
    expect(routes(path, 100)).toEqual([
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
    expect(deleteRoute(path, route(family))).toBe('deleted');
    expect(deleteRoute(path, route(family))).toBe('absent');
    expect(ipRoutes(family)).toEqual([]);
    expect(routes(path, 100)).toEqual([]);
  });

  it.each([
    [4, '10.20.0.0/16'],
    [6, 'fd66:20::/48'],
  ] as const)('takes an IPv%d prefix, a metric and a large table', (family, destination) => {
    ip('link', 'add', 'wire', 'type', 'veth', 'peer', 'name', 'far');
    for (const end of ['wire', 'far']) ip('link', 'set', end, 'up');
    const wanted: PolicyRoute = { family, table: 70_000, type: 'unicast', destination, interface: 'wire', metric: 7 };
    expect(addRoute(path, wanted)).toBe('added');
    const [listed] = json(ip(`-${family}`, '-json', 'route', 'show', 'table', '70000')) as object[];
    expect(listed).toMatchObject({ dst: destination, dev: 'wire', metric: 7 });
    expect(routes(path, 70_000)).toContainEqual(expect.objectContaining(wanted));
    expect(deleteRoute(path, { ...wanted, metric: 8 })).toBe('absent');
    expect(deleteRoute(path, wanted)).toBe('deleted');
  });

  it('does not take another route to the same destination for its own', () => {
    ip('link', 'add', 'wire', 'type', 'veth', 'peer', 'name', 'far');
    for (const end of ['wire', 'far']) ip('link', 'set', end, 'up');
    ip('route', 'add', 'default', 'dev', 'wire', 'table', '100');
    const failure = failureOf(() => addRoute(path, route(4)));
    expect(failure).toMatchObject({ code: 'EEXIST', syscall: 'rtnetlink' });
    expect(failure.message).toContain('0.0.0.0/0 dev lo table 100');
    expect(deleteRoute(path, route(4))).toBe('absent');
    expect(ipRoutes(4)).toHaveLength(1);
  });

  it('leaves the same route of another when asked for its own', () => {
    ip('route', 'add', 'local', 'default', 'dev', 'lo', 'table', '100');
    expect(addRoute(path, route(4))).toBe('present');
    expect(deleteRoute(path, { ...route(4), protocol: 4 })).toBe('absent');
    expect(deleteRoute(path, route(4))).toBe('deleted');
  });

  it('names a device that is not there, and tells one that is down', () => {
    expect(failureOf(() => addRoute(path, { ...route(4), interface: 'eth7' })).message).toMatch(
      /if_nametoindex .* \(eth7\): ENODEV; the namespace has no interface of that name/,
    );
    ip('link', 'add', 'wire', 'type', 'veth', 'peer', 'name', 'far');
    const down: PolicyRoute = { ...route(4), type: 'unicast', interface: 'wire' };
    expect(failureOf(() => addRoute(path, down)).message).toContain('"Device for nexthop is not up": ENETDOWN');
    expect(deleteRoute(path, { ...route(4), interface: 'eth7' })).toBe('absent');
  });
});

describe.skipIf(need.skip)(`without IPv6${need.label}`, () => {
  beforeEach(makeNamespace);
  afterEach(removeNamespace);

  it('reports a namespace that has IPv6 switched off, and goes on', () => {
    writeSysctl(path, 'net.ipv6.conf.all.disable_ipv6', '1');
    // The kernel keeps IPv6 rules even so: they are of no use, and of no harm.
    expect(addRule(path, rule(6))).toBe('added');
    expect(addRoute(path, route(6))).toBe('ipv6-disabled');
    expect(addRoute(path, route(4))).toBe('added');
    expect(deleteRoute(path, route(6))).toBe('absent');
    expect(deleteRule(path, rule(6))).toBe('deleted');
    writeSysctl(path, 'net.ipv6.conf.all.disable_ipv6', '0');
    expect(addRoute(path, route(6))).toBe('added');
  });
});

describe.skipIf(need.skip)(`sysctls${need.label}`, () => {
  beforeAll(makeNamespace);
  afterAll(removeNamespace);
  const accept = 'net.ipv4.tcp_fwmark_accept';
  const here = (): string => readFileSync('/proc/sys/net/ipv4/tcp_fwmark_accept', 'utf8');

  it('writes the namespace’s own and says what it was', () => {
    const outside = here();
    expect(readSysctl(path, accept)).toBe('0');
    expect(writeSysctl(path, accept, '1')).toEqual({ previous: '0', changed: true });
    expect(writeSysctl(path, accept, '1')).toEqual({ previous: '1', changed: false });
    const inside = execFileSync('ip', ['netns', 'exec', name, 'cat', '/proc/sys/net/ipv4/tcp_fwmark_accept']);
    expect(inside.toString()).toBe('1\n');
    expect(here()).toBe(outside);
    expect(writeSysctl(path, accept, '0')).toEqual({ previous: '1', changed: true });
  });

  it('knows names with dots in them', () => {
    ip('link', 'add', 'eth0.7', 'type', 'veth', 'peer', 'name', 'far');
    expect(readSysctl(path, 'net/ipv4/conf/eth0.7/rp_filter')).toMatch(/^[012]$/);
  });

  it('tells a sysctl that is absent, a wrong value, and a name outside net', () => {
    expect(readSysctl(path, 'net.ipv4.no_such_thing')).toBeUndefined();
    expect(failureOf(() => writeSysctl(path, 'net.ipv4.no_such_thing', '1')).code).toBe('ENOENT');
    expect(failureOf(() => writeSysctl(path, accept, 'many'))).toMatchObject({ code: 'EINVAL', syscall: 'write' });
    expect(() => readSysctl(path, 'kernel.hostname')).toThrow('kernel.hostname is no sysctl below net');
    expect(() => readSysctl(path, 'net/../kernel/hostname')).toThrow(RangeError);
    expect(() => readSysctl(path, 'net..ipv4')).toThrow(RangeError);
    expect(readSysctl(path, accept, { procPath: '/nowhere' })).toBeUndefined();
  });
});

describe.skipIf(need.skip)(`tc filters${need.label}`, () => {
  let object: BpfObject;
  beforeAll(() => {
    object = openObject(fileURLToPath(new URL('../build/test/marks.bpf.o', import.meta.url)));
    object.load();
  });
  afterAll(() => object.close());
  beforeEach(makeNamespace);
  afterEach(removeNamespace);

  const attachment = (program = 'pass_first'): typeof ours & { programFd: number } => ({
    ...ours,
    programFd: object.program(program).fd,
  });
  const qdiscs = (): string[] =>
    (json(tc('-json', 'qdisc', 'show', 'dev', 'lo')) as { kind: string }[])
      .map(({ kind }) => kind)
      .filter((kind) => kind !== 'noqueue');
  interface Listed {
    kind: string;
    pref: number;
    options?: { handle: string; bpf_name: string; 'direct-action': boolean; prog: { id: number; tag: string } };
  }
  const listed = (direction = 'ingress'): Listed[] =>
    (json(tc('-json', 'filter', 'show', 'dev', 'lo', direction)) as Listed[]).filter(({ options }) => options);

  it('attaches and detaches, with the qdisc, once', () => {
    expect(tcFilters(path, 'lo')).toEqual([]);
    expect(attachTc(path, 'lo', attachment())).toEqual({ filter: 'added', qdisc: 'added' });
    expect(attachTc(path, 'lo', attachment())).toEqual({ filter: 'present', qdisc: 'present' });
    const [filter, ...rest] = listed();
    expect(rest).toEqual([]);
    const id = object.program('pass_first').id;
    expect(filter).toMatchObject({ kind: 'bpf', pref: 100 });
    expect(filter?.options).toMatchObject({ handle: '0x1', bpf_name: 'sluice_lo', prog: { id } });
    expect(tcFilters(path, 'lo')).toEqual([
      {
        kind: 'bpf',
        priority: 100,
        handle: 1,
        protocol: 3,
        chain: 0,
        bpf: { name: 'sluice_lo', programId: id, tag: filter?.options?.prog.tag, directAction: true },
      },
    ]);
    expect(detachTc(path, 'lo', ours)).toEqual({ filter: 'deleted', qdisc: 'deleted' });
    expect(detachTc(path, 'lo', ours)).toEqual({ filter: 'absent', qdisc: 'absent' });
    expect(qdiscs()).toEqual([]);
  });

  it('replaces an older program of its own in place', () => {
    attachTc(path, 'lo', attachment('pass_first'));
    expect(attachTc(path, 'lo', attachment('pass_second'))).toEqual({ filter: 'replaced', qdisc: 'present' });
    expect(listed().map(({ options }) => options?.prog.id)).toEqual([object.program('pass_second').id]);
  });

  it('keeps both directions apart', () => {
    const out = { ...attachment('pass_second'), direction: 'egress' as const };
    attachTc(path, 'lo', attachment());
    expect(attachTc(path, 'lo', out)).toEqual({ filter: 'added', qdisc: 'present' });
    expect(tcFilters(path, 'lo', 'egress').map(({ bpf }) => bpf?.programId)).toEqual([
      object.program('pass_second').id,
    ]);
    expect(detachTc(path, 'lo', ours)).toEqual({ filter: 'deleted', qdisc: 'kept' });
    expect(listed('egress')).toHaveLength(1);
    expect(detachTc(path, 'lo', { ...ours, direction: 'egress' })).toEqual({ filter: 'deleted', qdisc: 'deleted' });
  });

  it('lives beside the filters of another, and leaves them with their clsact', () => {
    tc('qdisc', 'add', 'dev', 'lo', 'clsact');
    tc('filter', 'add', 'dev', 'lo', 'ingress', 'pref', '7', 'protocol', 'ip', ...U32);
    const before = tc('filter', 'show', 'dev', 'lo', 'ingress');
    expect(attachTc(path, 'lo', attachment())).toEqual({ filter: 'added', qdisc: 'present' });
    // u32 lists its hash table as well.
    const kinds = tcFilters(path, 'lo').map(({ kind, priority }) => `${kind} ${priority}`);
    expect([...new Set(kinds)]).toEqual(['u32 7', 'bpf 100']);
    expect(detachTc(path, 'lo', ours)).toEqual({ filter: 'deleted', qdisc: 'kept' });
    expect(tc('filter', 'show', 'dev', 'lo', 'ingress')).toBe(before);
  });

  it('keeps an empty clsact when told that it is another’s', () => {
    tc('qdisc', 'add', 'dev', 'lo', 'clsact');
    const { qdisc } = attachTc(path, 'lo', attachment());
    expect(detachTc(path, 'lo', { ...ours, qdisc: qdisc === 'present' ? 'keep' : 'remove-if-empty' })).toEqual({
      filter: 'deleted',
      qdisc: 'kept',
    });
    expect(qdiscs()).toEqual(['clsact']);
  });

  it('uses an ingress qdisc that is there in place of clsact, and never removes it', () => {
    tc('qdisc', 'add', 'dev', 'lo', 'ingress');
    expect(attachTc(path, 'lo', attachment())).toEqual({ filter: 'added', qdisc: 'present' });
    expect(listed()).toHaveLength(1);
    expect(detachTc(path, 'lo', ours)).toEqual({ filter: 'deleted', qdisc: 'kept' });
    expect(qdiscs()).toEqual(['ingress']);
  });

  it('neither replaces nor removes what another has at its place', () => {
    attachTc(path, 'lo', { ...attachment(), name: 'theirs' });
    expect(failureOf(() => attachTc(path, 'lo', attachment())).message).toMatch(
      /RTM_NEWTFILTER, lo, priority 100, handle 1\): EEXIST; something else has that place, and is left alone/,
    );
    expect(detachTc(path, 'lo', ours)).toEqual({ filter: 'absent', qdisc: 'kept' });
    expect(listed().map(({ options }) => options?.bpf_name)).toEqual(['theirs']);
  });

  it('leaves no clsact behind when the program is refused', () => {
    const failure = failureOf(() => attachTc(path, 'lo', attachment('not_a_classifier')));
    expect(failure).toMatchObject({ code: 'EINVAL', syscall: 'rtnetlink' });
    expect(failureOf(() => attachTc(path, 'lo', { ...ours, programFd: 9999 })).code).toBe('EBADF');
    expect(qdiscs()).toEqual([]);
  });

  it('names a device that is not there when it adds, and has nothing to do when it removes', () => {
    expect(failureOf(() => attachTc(path, 'eth7', attachment())).code).toBe('ENODEV');
    expect(failureOf(() => tcFilters(path, 'eth7')).code).toBe('ENODEV');
    expect(detachTc(path, 'eth7', ours)).toEqual({ filter: 'absent', qdisc: 'absent' });
  });

  it('quotes the kernel’s own words', () => {
    attachTc(path, 'lo', attachment());
    tc('filter', 'add', 'dev', 'lo', 'ingress', 'pref', '101', 'protocol', 'ip', ...U32);
    expect(failureOf(() => attachTc(path, 'lo', { ...attachment(), priority: 101 })).message).toMatch(/"[A-Z].*"/);
  });
});

describe.skipIf(need.skip)(`threads and privileges${need.label}`, () => {
  beforeAll(makeNamespace);
  afterAll(removeNamespace);

  it('leaves every thread of this process where it was, and no thread or descriptor behind', () => {
    const threads = (): string[] =>
      readdirSync('/proc/self/task').map((task) => readlinkSync(`/proc/self/task/${task}/ns/net`));
    const files = (): number => readdirSync('/proc/self/fd').length;
    const before = { threads: threads().length, files: files() };
    for (let i = 0; i < 50; i++) {
      addRule(path, rule(4));
      addRoute(path, route(6));
      tcFilters(path, 'lo');
      readSysctl(path, 'net.ipv4.ip_forward');
      deleteRoute(path, route(6));
      deleteRule(path, rule(4));
      expect(() => addRoute(path, { ...route(4), interface: 'eth7' })).toThrow(SystemCallError);
    }
    expect(new Set(threads())).toEqual(new Set([readlinkSync('/proc/self/ns/net')]));
    expect(threads()).toHaveLength(before.threads);
    expect(files()).toBe(before.files);
  });

  it('does each thing once when several do the same at the same time', async () => {
    const object = openObject(fileURLToPath(new URL('../build/test/marks.bpf.o', import.meta.url)));
    object.load();
    try {
      // A worker that is given as text is a module too, as its import says.
      const source = `
        import { parentPort, workerData } from 'node:worker_threads';
        import { addRoute, addRule, attachTc } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)};
        const { path, rule, route, attachment } = workerData;
        parentPort.once('message', () => {
          const { filter, qdisc } = attachTc(path, 'lo', attachment);
          parentPort.postMessage([addRule(path, rule), addRoute(path, route), filter, qdisc]);
        });
        parentPort.postMessage('ready');`;
      const attachment = { ...ours, programFd: object.program('pass_first').fd };
      const workerData = { path, rule: rule(4), route: route(4), attachment };
      const workers = Array.from({ length: 4 }, () => new Worker(source, { eval: true, workerData }));
      await Promise.all(workers.map((worker) => once(worker, 'message')));
      const answers = workers.map((worker) => once(worker, 'message') as Promise<[string[]]>);
      for (const worker of workers) worker.postMessage('go');
      const outcomes = (await Promise.all(answers)).map(([outcome]) => outcome);
      await Promise.all(workers.map((worker) => worker.terminate()));
      for (const column of [0, 1, 2, 3])
        expect(outcomes.map((outcome) => outcome[column]).toSorted()).toEqual([
          'added',
          'present',
          'present',
          'present',
        ]);
      expect([rules(path).filter((listed) => listed.table === 100), routes(path, 100), tcFilters(path, 'lo')]).toEqual([
        [expect.anything()],
        [expect.anything()],
        [expect.anything()],
      ]);
      deleteRule(path, rule(4));
      deleteRoute(path, route(4));
      detachTc(path, 'lo', ours);
    } finally {
      object.close();
    }
  });

  it('says what an unprivileged caller lacks', () => {
    // With CAP_SYS_ADMIN, to enter, but without CAP_NET_ADMIN, to change.
    const script = `
      import { addRule } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)};
      const rule = { family: 4, priority: 7, table: 100 };
      try { addRule(${JSON.stringify(path)}, rule); } catch (error) { process.stdout.write(error.message); }`;
    const node = [process.execPath, '--input-type=module', '-e', script];
    const output = execFileSync('setpriv', ['--bounding-set=-net_admin', '--inh-caps=-net_admin', ...node], {
      encoding: 'utf8',
    });
    expect(output).toMatch(/^rtnetlink .*RTM_NEWRULE.*: EPERM; changing a network namespace needs CAP_NET_ADMIN/);
  });

  it('refuses a path that is no network namespace', () => {
    expect(() => rules('/proc/self/ns/uts')).toThrow('setns /proc/self/ns/uts: EINVAL');
    expect(() => addRule('/nowhere', rule(4))).toThrow('open /nowhere: ENOENT');
  });
});
