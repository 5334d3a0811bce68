// The text that people see.
import type { AgentState, DatedStatus, Explanation, NodeStatus } from '@sluice/ambient-agent';
import { describe, expect, it } from 'vitest';
import { renderCleanup, renderExplanation, renderRecord, renderStatus, renderVerification } from '../src/index.js';

const now = new Date('2026-01-01T12:00:00.000Z');

const workload = (over: Partial<DatedStatus>): DatedStatus => ({
  uid: 'u',
  namespace: 'shop',
  name: 'cart',
  ips: [],
  cgroups: [],
  netnsCookie: undefined,
  role: 'workload',
  state: 'in',
  reason: 'in mesh: namespace label istio.io/dataplane-mode=ambient',
  problems: [],
  since: '2026-01-01T11:59:00.000Z',
  ...over,
});

const state: AgentState = {
  version: 1,
  writtenAt: '2026-01-01T11:59:50.000Z',
  agent: { version: '0.1.0', pid: 42, startTicks: '1', startedAt: '2026-01-01T09:00:00.000Z' },
  node: {
    name: 'node-1',
    mode: 'node',
    inventory: '/etc/sluice/inventory',
    cgroupRoot: '/sys/fs/cgroup',
    pinDirectory: '/sys/fs/bpf/sluice',
    hostNetns: '/proc/1/ns/net',
    hostNetnsCookie: '1',
    noZtunnel: 'closed',
    pending: 'hold',
    resyncIntervalMs: 30_000,
    sampling: 0,
  },
  ztunnels: {
    ipv4: '10.0.0.9',
    ipv6: 'fd00::9',
    pods: [
      { namespace: 'istio-system', name: 'ztunnel-x', ips: ['10.0.0.9', 'fd00::9'], isReady: true, isActive: true },
    ],
  },
  kubelets: [],
  workloads: [
    workload({
      ips: ['10.0.0.2', 'fd00::2'],
      cgroups: [
        { path: '/a', id: '100' },
        { path: '/a/b', id: '101' },
      ],
    }),
    workload({
      uid: 'v',
      namespace: 'plain',
      name: 'web',
      state: 'out',
      reason: 'out: hostNetwork',
      since: '2025-12-20T12:00:00.000Z',
    }),
    workload({
      uid: '5cd8a7c4',
      namespace: '',
      name: '',
      state: 'unknown',
      reason: 'unknown: the inventory has no pod with this UID',
    }),
  ],
  problems: [],
  lastReconcile: undefined,
  errors: {},
};

describe('status', () => {
  it('shows every workload', () => {
    const node: NodeStatus = { state, agent: 'running', isEnforced: true, warnings: [] };
    const lines = renderStatus(node, now).split('\n');
    expect(lines.slice(0, 6)).toEqual([
      'node      node-1 (mode node)',
      'agent     pid 42, version 0.1.0, up 3h',
      'inventory /etc/sluice/inventory',
      'datapath  in force below /sys/fs/cgroup',
      'ztunnel   istio-system/ztunnel-x 10.0.0.9 fd00::9 (active)',
      '',
    ]);
    expect(lines.slice(6)).toEqual([
      expect.stringMatching(/^POD +IPS +CGROUP +MESH +WHY +SINCE$/),
      expect.stringMatching(
        /^shop\/cart +10\.0\.0\.2 +100 \+1 +in +in mesh: namespace label istio\.io\/dataplane-mode=ambient +60s$/,
      ),
      expect.stringMatching(/^ +fd00::2$/),
      expect.stringMatching(/^plain\/web +- +- +out +out: hostNetwork +12d$/),
      expect.stringMatching(/^\(uid 5cd8a7c4\) +- +- +unknown +unknown: the inventory has no pod with this UID +60s$/),
      '',
      '3 pods: 1 in the mesh, 1 out of it, 1 unknown',
    ]);
  });

  it('shows in inPod mode how each pod is captured, and once for each reason why not by route', () => {
    const privileged = 'container app is privileged';
    const pods = ['a', 'b', 'c', 'd', 'e', 'f', 'g'].map((name) =>
      workload({ uid: name, name, inbound: 'yes', capture: { by: 'rewrite', because: privileged } }),
    );
    const routed = workload({ uid: 'r', name: 'routed', inbound: 'yes', capture: { by: 'route' } });
    const alone = workload({ uid: 's', name: 'alone', inbound: 'yes', capture: { by: 'rewrite', because: 'a rule' } });
    // A pending pod, and one of an agent that did not say it yet.
    const pending = workload({ uid: 'p', name: 'p', inbound: 'no', state: 'pending', reason: 'pending: x' });
    const inPod = { ...state, zds: { socket: '/z.sock', connections: [] } };
    const of = (workloads: readonly DatedStatus[]): string[] =>
      renderStatus({ state: { ...inPod, workloads }, agent: 'running', isEnforced: true, warnings: [] }, now).split(
        '\n',
      );
    const lines = of([...pods.slice(0, 1), routed, pending, alone, ...pods.slice(1)]);
    const table = lines.slice(lines.findIndex((line) => line.startsWith('POD')));
    expect(table.slice(0, 5)).toEqual([
      expect.stringMatching(/^POD +IPS +CGROUP +MESH +CAPTURE +INBOUND +WHY +SINCE$/),
      expect.stringMatching(/^shop\/a +- +- +in +rewrite +yes +in mesh: .* 60s$/),
      expect.stringMatching(/^shop\/routed +- +- +in +route +yes +in mesh/),
      expect.stringMatching(/^shop\/p +- +- +pending +- +no +pending: x +60s$/),
      expect.stringMatching(/^shop\/alone +- +- +in +rewrite +yes +in mesh/),
    ]);
    expect(table.slice(-6)).toEqual([
      '',
      'captured by rewrite, and not by route:',
      '  shop/a, shop/b, shop/c, shop/d, shop/e and 2 more: container app is privileged',
      '  shop/alone: a rule',
      '',
      '10 pods: 9 in the mesh, 1 pending',
    ]);
    expect(of([routed, pending]).slice(-2)).toEqual(['', '2 pods: 1 in the mesh, 1 pending']);
    expect(of([routed]).join()).not.toContain('rewrite');
  });

  it('begins with the warnings', () => {
    const bare = { ...state, workloads: [], ztunnels: { ...state.ztunnels, pods: [] } };
    const node: NodeStatus = {
      state: bare,
      agent: 'not-running',
      isEnforced: false,
      warnings: ['agent not running', 'b'],
    };
    expect(renderStatus(node, now)).toBe(
      `warning: agent not running
warning: b

node      node-1 (mode node)
agent     not running; last seen 10s ago
inventory /etc/sluice/inventory
datapath  not in force
ztunnel   none on this node

no pods on this node`,
    );
  });
});

describe('status --verify', () => {
  const compared = { entries: 13, programs: 14, networkNamespaces: 1 };
  it('says what was compared when there is no difference', () => {
    expect(renderVerification({ differences: [], unchecked: [], compared, looks: 1, isSettled: true })).toBe(
      'verify    no difference between what the agent says and the kernel (13 map entries, 14 programs, 1 network namespaces)',
    );
  });

  it('shows both sides of each difference, kind by kind, after the warnings about what is not certain', () => {
    const rest = { agent: 'x', kernel: 'y', remedy: 'z' };
    expect(
      renderVerification({
        differences: [
          { kind: 'map', object: 'config: the one entry', ...rest },
          { kind: 'map', object: 'local_pods', ...rest },
          { kind: 'listener', object: 'port 15001 of pod shop/cart', ...rest },
        ],
        unchecked: ['the network namespace of pod shop/cart: no process of the pod shows it'],
        compared,
        looks: 6,
        isSettled: false,
      }),
    ).toBe(
      `warning: the agent’s state changed under each of 6 looks; shown is what differed in the last two
warning: not compared: the network namespace of pod shop/cart: no process of the pod shows it
verify    3 differences between what the agent says and the kernel (13 map entries, 14 programs, 1 network namespaces)

maps
  config: the one entry
    agent   x
    kernel  y
    remedy  z
  local_pods
    agent   x
    kernel  y
    remedy  z

ztunnel's listeners
  port 15001 of pod shop/cart
    agent   x
    kernel  y
    remedy  z`,
    );
  });
});

describe('explain', () => {
  const explanation: Explanation = {
    caller: {
      description: 'pod shop/cart',
      cgroup: '/a/b',
      netnsCookie: '7',
      inMaps: 'in the mesh',
      reason: 'in mesh: pod label',
      capture: undefined,
      device: undefined,
    },
    destination: { ip: 'fd00::1', port: 80 },
    verdict: 'redirect',
    decidedBy: 'redirect',
    target: { ip: 'fd00::9', port: 15001 },
    note: undefined,
    rows: [
      { row: 'ztunnel', question: 'is the caller ztunnel?', finding: 'it is not', matched: false },
      { row: 'redirect', question: 'otherwise', finding: 'to ztunnel', matched: true },
    ],
  };
  const captured = (capture: Explanation['caller']['capture']): string[] =>
    renderExplanation({ ...explanation, caller: { ...explanation.caller, capture } }).split('\n');

  it('marks the row that decided', () => {
    const lines = captured(undefined);
    expect(lines.slice(0, 3)).toEqual([
      'from      pod shop/cart (in the mesh); in mesh: pod label',
      'cgroup    /a/b',
      'to        [fd00::1]:80',
    ]);
    expect(lines[6]).toMatch(/^=> +redirect +otherwise +to ztunnel$/);
    expect(lines[8]).toBe(
      'redirect: decided by `redirect`; the connection goes to ztunnel at [fd00::9]:15001, which learns the original destination',
    );
  });

  it('says which device the socket is bound to', () => {
    const caller = { ...explanation.caller, device: 'net1' };
    expect(renderExplanation({ ...explanation, caller }).split('\n')[2]).toBe('device    net1');
  });

  it('says how the pod’s connections are captured, and why', () => {
    expect(captured({ by: 'route' })[2]).toBe('captured  by route: the socket is marked, and the destination stays');
    expect(captured({ by: 'rewrite', because: 'container app is privileged' })[2]).toBe(
      "captured  by rewrite: connect() is given ztunnel's address, because container app is privileged",
    );
  });
});

describe('watch', () => {
  it('prints one line for each record', () => {
    const process = { kind: 'process' as const, event: 'exec', pid: 7, comm: 'nginx', podUid: 'u', netnsCookie: '7' };
    expect(
      renderRecord({
        ...process,
        where: 'pod',
        pod: 'shop/cart',
        ips: ['10.0.0.2'],
        state: 'in',
        containerId: 'abcdef0123456789',
        cgroupId: '101',
      }),
    ).toBe('exec           7 nginx           shop/cart container=abcdef012345 cgroup=101 ip=10.0.0.2 mesh=in');
    expect(renderRecord({ kind: 'overrun', of: 'processes', lost: undefined })).toBe('(lost some processes)');
    expect(
      renderRecord({
        kind: 'decision',
        pid: 7,
        comm: 'curl',
        pod: 'shop/cart',
        destination: { ip: '10.0.0.1', port: 80 },
        verdict: 'redirect',
        reason: 'redirect',
      }),
    ).toBe('connect        7 curl            shop/cart -> 10.0.0.1:80 redirect (redirect)');
  });
});

describe('cleanup', () => {
  it('says what it removed, and when there was nothing', () => {
    expect(
      renderCleanup({
        withdrawn: ['shop/cart'],
        detached: ['sluice_connect4'],
        unpinned: ['/b/maps/settings'],
        restored: ['network namespace of pod u: IPv4 rule'],
        files: ['/run/sluice/state.json'],
        problems: ['something is left'],
      }),
    ).toBe(
      'withdrew  the annotation of pod shop/cart\ndetached  sluice_connect4\nunpinned  /b/maps/settings\nrestored  network namespace of pod u: IPv4 rule\nremoved   /run/sluice/state.json\nwarning: something is left',
    );
    expect(renderCleanup({ withdrawn: [], detached: [], unpinned: [], restored: [], files: [], problems: [] })).toBe(
      'nothing of Sluice is on this node',
    );
  });
});
