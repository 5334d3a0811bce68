// The comparison of what an agent says with what a kernel has: no difference for what the enrolment made, and one for each thing that
// is broken.
import { wantedEntries } from '@sluice/datapath';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  claimsOf,
  nothingSeen,
  type CaptureFacts,
  dateStatuses,
  differencesOf,
  type AgentState,
  type Claims,
  type Difference,
  type Enrolment,
  type KernelView,
  type KubeletCgroup,
} from '../src/index.js';
import { config, enrolWorld, HOST_COOKIE, NODE, pod, workload, ztunnelPod, type World } from './world.js';

const ROOT_ID = 1n;
const CONNECT = 'sluice_connect4';
const KUBEPODS_ID = 60n;
const kubelet: KubeletCgroup = { cgroupPath: '/cg/kubelet', cgroupId: 50n, level: 1 };

function stateOf({ statuses, desired }: Enrolment): AgentState {
  return {
    version: 1,
    writtenAt: '2026-01-01T00:00:00.000Z',
    agent: { version: '0.1.0', pid: 1, startTicks: '', startedAt: '2026-01-01T00:00:00.000Z' },
    node: {
      name: NODE,
      mode: 'inPod',
      inventory: '/i',
      cgroupRoot: '/cg',
      pinDirectory: '/bpf/sluice',
      hostNetns: '/proc/1/ns/net',
      hostNetnsCookie: String(HOST_COOKIE),
      noZtunnel: 'closed',
      pending: 'hold',
      resyncIntervalMs: 30_000,
      sampling: 0,
      ipv6: true,
    },
    ztunnels: { ipv4: undefined, ipv6: undefined, pods: [] },
    kubelets: [{ path: kubelet.cgroupPath, id: String(kubelet.cgroupId), level: kubelet.level }],
    workloads: dateStatuses(statuses, [], new Date(0)),
    maps: wantedEntries(desired),
    programs: { [CONNECT]: [{ path: '/cg/kubepods', id: String(KUBEPODS_ID) }] },
    problems: [],
    lastReconcile: undefined,
    errors: {},
  };
}

// The inode of a namespace of world.ts, by its cookie.
const inodeOf = (cookie: bigint): bigint => cookie + 5000n;
const linkOf = (cookie: bigint) => ({ id: Number(cookie), programId: Number(cookie), type: 'netns' });
const maps = new Map([['cgroup_info_map', 11]]);

const both = { ipv4: true, ipv6: true };

/** A kernel in which everything is done that the enrolment asks for. The datapath compares the entries. */
function kernelOf({ desired, served, statuses }: Enrolment): KernelView {
  const cookies = served.map(({ cookie }) => cookie);
  const shown = new Set(statuses.map(({ netnsCookie }) => netnsCookie));
  const cgroups = statuses.flatMap((status) => status.cgroups).map(({ path, id }) => [path, BigInt(id)] as const);
  return {
    notPinned: undefined,
    maps: [{ name: 'cgroup_info_map', id: 11, misfit: undefined }],
    entries: [],
    programs: [
      {
        program: CONNECT,
        cgroup: { path: '/cg/kubepods', id: KUBEPODS_ID },
        link: { id: 1, programId: 1, type: 'cgroup', cgroupId: KUBEPODS_ID },
        running: [{ id: 1, maps }],
      },
    ],
    programLinks: [{ program: CONNECT, link: { id: 1, programId: 1, type: 'cgroup', cgroupId: KUBEPODS_ID } }],
    cgroupRootId: ROOT_ID,
    netnsLinks: cookies.map((cookie) => ({
      netnsCookie: cookie,
      link: { ...linkOf(cookie), netnsInode: Number(inodeOf(cookie)) },
    })),
    inboundLinks: cookies.map((cookie) => ({ id: Number(cookie), netnsInode: Number(inodeOf(cookie)), maps })),
    listeners: served
      .filter(({ isAcknowledged }) => isAcknowledged)
      .flatMap(({ cookie }) => [15001, 15006].map((port) => ({ netnsCookie: cookie, port }))),
    guard: [],
    routed: new Map(
      served.filter(({ capture }) => capture.by === 'route').map(({ cookie }) => [cookie, new Map([[0, both]])]),
    ),
    hostNetnsCookie: HOST_COOKIE,
    cgroups: new Map([...cgroups, [kubelet.cgroupPath, kubelet.cgroupId], ['/cg/kubepods', KUBEPODS_ID]]),
    netns: new Map(
      [...desired.netns.keys()].map((cookie) => [
        cookie,
        shown.has(String(cookie))
          ? { kind: 'same', inode: inodeOf(cookie), missing: [] }
          : { kind: 'unchecked', why: 'no process of the pod shows it' },
      ]),
    ),
  };
}

const facts: World['served'] = { acknowledged: new Map([['a', 7n]]) };

const transparent: CaptureFacts = {
  ...nothingSeen,
  prepared: new Set([5n, 6n, 7n, 8n]),
  listeners: new Map([5n, 6n, 7n, 8n].map((one) => [one, 'transparent'])),
};

/** One pod in the mesh (7n), one pending (8n), one out, ztunnel, and a kubelet. */
const enrolment = enrolWorld({
  pods: [
    pod('a', { ips: ['10.0.0.2', 'fd00::2'] }),
    pod('b', { ips: ['10.0.0.3'] }),
    pod('c', { namespace: 'plain' }),
    ztunnelPod(),
  ],
  workloads: [workload('a', 100n, 7n), workload('b', 200n, 8n), workload('c', 300n, 9n), workload('zt', 400n)],
  kubelets: [kubelet],
  config: config({ mode: 'inPod' }),
  served: facts,
  capture: transparent,
});
const claims: Claims = claimsOf(stateOf(enrolment));
const whole = kernelOf(enrolment);
const differences = (
  kernel: Partial<KernelView>,
  agent: 'running' | 'stale' | 'not-running' = 'running',
): Difference[] => differencesOf(claims, { ...whole, ...kernel }, agent);
const netns = (cookie: bigint, seen: Parameters<Map<bigint, unknown>['set']>[1]): Partial<KernelView> => ({
  netns: new Map([...whole.netns, [cookie, seen as never]]),
});
const ofPath = (path: string, id: bigint | undefined): Partial<KernelView> => ({
  cgroups: new Map([...whole.cgroups, [path, id ?? 0n] as const].filter(([one]) => id !== undefined || one !== path)),
});
const cgroup = (uid: string): string => `/cg/kubepods/besteffort/pod${uid}`;
const [program] = whole.programs;
if (program === undefined) throw new Error('there is a program');
const withProgram = (over: Partial<typeof program>): Partial<KernelView> => ({ programs: [{ ...program, ...over }] });
const withLink = (over: object): Partial<KernelView> => withProgram({ link: { ...program.link, ...over } as never });
const withNetnsLink = (over: object): Partial<KernelView> => ({
  netnsLinks: whole.netnsLinks.map(({ netnsCookie, link }) =>
    netnsCookie === 7n ? { netnsCookie, link: { ...link, ...over } } : { netnsCookie, link },
  ),
});

describe('what an agent claims', () => {
  it('has, for each network namespace of a pod in the maps, whether ztunnel listens there', () => {
    const claimed = claims.netns.map(({ cookie, pod: { name }, ...rest }) => [cookie, { name, ...rest }] as const);
    expect(new Map(claimed)).toEqual(
      new Map([
        [7n, { name: 'a', isServed: true, isAcknowledged: true, isRouted: true }],
        [8n, { name: 'b', isServed: true, isAcknowledged: false, isRouted: false }],
      ]),
    );
  });
});

describe('no difference', () => {
  it('is reported for what the enrolment asked for', () => {
    expect(differences({})).toEqual([]);
  });

  it('is reported for it whatever pods there are, and whatever ztunnel has acknowledged', () => {
    const uids = ['a', 'b', 'c'] as const;
    const cookie = fc.option(fc.bigInt({ min: 5n, max: 8n }), { nil: undefined });
    const world = fc.record({
      mode: fc.constantFrom('node', 'inPod'),
      seen: fc.array(cookie, { minLength: 3, maxLength: 3 }),
      acknowledged: fc.array(cookie, { minLength: 3, maxLength: 3 }),
      namespaces: fc.array(fc.constantFrom('shop', 'plain', 'kube-system'), { minLength: 3, maxLength: 3 }),
    });
    fc.assert(
      fc.property(world, ({ mode, seen, acknowledged, namespaces }) => {
        const known = new Map(
          uids.flatMap((uid, at) => (acknowledged[at] === undefined ? [] : [[uid, acknowledged[at]] as const])),
        );
        const made = enrolWorld({
          pods: uids.map((uid, at) =>
            pod(uid, { ips: [`10.0.0.${at + 2}`], bornMs: at, namespace: namespaces[at] ?? '' }),
          ),
          workloads: uids.map((uid, at) => workload(uid, BigInt(at + 1) * 100n, seen[at])),
          kubelets: [kubelet],
          config: config({ mode }),
          served: { ...facts, acknowledged: known, remembered: known },
          capture: transparent,
        });
        expect(differencesOf(claimsOf(stateOf(made)), kernelOf(made), 'running')).toEqual([]);
      }),
    );
  });

  it('is reported for a container’s cgroup that is gone, and for cgroups of pods that are in no map', () => {
    expect(differences(ofPath(`${cgroup('a')}/c1`, undefined))).toEqual([]);
    expect(differences(ofPath(cgroup('c'), undefined))).toEqual([]);
  });
});

const broken: [string, Partial<KernelView>, Partial<Difference>][] = [
  [
    'a pod captured by route whose namespace is prepared for one family',
    {
      routed: new Map([
        [
          7n,
          new Map([
            [0, { ...both, ipv6: false }],
            [2, both],
          ]),
        ],
      ]),
    },
    {
      kind: 'map',
      object: 'routed_netns: IPv6 in the network namespace of pod shop/a',
      agent: 'captured by route',
      kernel: 'the namespace does not count as prepared: such connections of the pod are refused',
    },
  ],
  [
    'a pod’s cgroup that is gone',
    ofPath(cgroup('a'), undefined),
    { kind: 'place', object: `${cgroup('a')} of pod shop/a`, agent: 'a cgroup with id 100', kernel: 'it is gone' },
  ],
  [
    'a container’s cgroup that was made again',
    ofPath(`${cgroup('a')}/c1`, 9n),
    { kind: 'place', object: `${cgroup('a')}/c1 of pod shop/a`, kernel: 'one with id 9' },
  ],
  [
    'a kubelet’s cgroup that is gone',
    ofPath(kubelet.cgroupPath, undefined),
    { kind: 'place', object: '/cg/kubelet of the kubelet', agent: 'a cgroup with id 50', kernel: 'it is gone' },
  ],
  [
    'ztunnel’s cgroup that is gone',
    ofPath(cgroup('zt'), undefined),
    { kind: 'place', object: `${cgroup('zt')} of pod istio-system/zt`, kernel: 'it is gone' },
  ],
  [
    'the host’s network namespace that is gone',
    { hostNetnsCookie: undefined },
    { kind: 'place', object: '/proc/1/ns/net', kernel: 'it is not there' },
  ],
  [
    'another network namespace of a pod, but not its link and rules',
    netns(7n, { kind: 'other', cookie: 77n }),
    {
      kind: 'place',
      object: 'network namespace of pod shop/a',
      agent: 'the one with cookie 7',
      kernel: 'its processes are in the one with cookie 77',
    },
  ],
  [
    'a pod that shows no network namespace of its own',
    netns(7n, { kind: 'none' }),
    { kind: 'place', kernel: 'no process of it shows one that holds 10.0.0.2 or fd00::2' },
  ],
  [
    'an entry, and the pod that it belongs to',
    {
      entries: [
        { map: 'local_pods', entry: 'IP fd00::2', of: { kind: 'ip', id: 'fd00::2' }, wanted: 'x', present: undefined },
      ],
    },
    { kind: 'map', object: 'local_pods: IP fd00::2 of pod shop/a', agent: 'x', kernel: 'no such entry' },
  ],
  [
    'an entry of a pod that is out',
    {
      entries: [
        {
          map: 'cgroup_info_map',
          entry: 'cgroup 301',
          of: { kind: 'cgroup', id: '301' },
          wanted: undefined,
          present: 'flags AMBIENT',
        },
      ],
    },
    {
      object: 'cgroup_info_map: cgroup 301 of pod plain/c',
      agent: expect.stringMatching(/^no such entry: out: no label/),
      kernel: 'flags AMBIENT',
    },
  ],
  [
    'a map that is not pinned',
    { maps: [{ name: 'events', id: undefined, misfit: undefined }] },
    { kind: 'map', object: 'events', kernel: 'no map is pinned by this name' },
  ],
  [
    'a map of another layout',
    { maps: [{ name: 'events', id: 5, misfit: 'keySize 8, not 4' }] },
    { kind: 'map', object: 'events', kernel: 'keySize 8, not 4' },
  ],
  [
    'a map that is not the one that the programs use',
    { maps: [{ name: 'cgroup_info_map', id: 12, misfit: undefined }] },
    { kind: 'map', kernel: 'map 12, while another is used by sluice_connect4, sluice_inbound' },
  ],
  ['a program that is not attached', withProgram({ link: undefined, running: [] }), { kernel: 'not attached' }],
  ['a program without a pin', withProgram({ link: undefined }), { kernel: 'program 1, by no pinned link' }],
  ['a detached link', withLink({ cgroupId: 0n }), { kernel: 'its link is attached to nothing: it was detached' }],
  ['a link to another cgroup', withLink({ cgroupId: 3n }), { kernel: 'its link is attached elsewhere, to 3' }],
  ['a link with another program', withLink({ programId: 4 }), { kernel: 'another program is in its link: 4' }],
  [
    'a program that is attached twice',
    withProgram({ running: [...program.running, { id: 4, maps }] }),
    {
      kind: 'link',
      object: `${CONNECT} at /cg/kubepods`,
      agent: 'attached',
      kernel: 'attached twice: by its link, and program 4',
      remedy: expect.stringMatching(/^find out who attached the other one/),
    },
  ],
  [
    'a program where nobody needs it',
    {
      programLinks: [
        ...whole.programLinks,
        { program: CONNECT, link: { id: 9, programId: 1, type: 'cgroup', cgroupId: ROOT_ID } },
      ],
    },
    {
      kind: 'link',
      object: `${CONNECT} at the cgroup with id ${ROOT_ID}`,
      agent: 'not attached: nobody needs it there',
      kernel: 'attached',
    },
  ],
  [
    'a cgroup of the programs',
    ofPath('/cg/kubepods', undefined),
    { kind: 'place', object: '/cg/kubepods of the programs', kernel: 'it is gone' },
  ],
  [
    'a namespace’s link that is not pinned',
    {
      netnsLinks: whole.netnsLinks.filter(({ netnsCookie }) => netnsCookie !== 7n),
      inboundLinks: whole.inboundLinks.filter(({ id }) => id !== 7),
    },
    {
      kind: 'link',
      object: 'sluice_inbound of pod shop/a',
      agent: 'attached to the network namespace with cookie 7',
      kernel: 'not attached',
    },
  ],
  [
    'a namespace’s link that was detached',
    withNetnsLink({ netnsInode: 0 }),
    { object: 'sluice_inbound of pod shop/a', kernel: 'its link is attached to nothing: it was detached' },
  ],
  [
    'a namespace’s link to another one',
    withNetnsLink({ netnsInode: 9 }),
    { object: 'sluice_inbound of pod shop/a', kernel: 'its link is attached elsewhere, to 9' },
  ],
  [
    'a link to a namespace in which no pod is served',
    {
      netnsLinks: [...whole.netnsLinks, { netnsCookie: 99n, link: { ...linkOf(99n), netnsInode: 9 } }],
    },
    {
      kind: 'link',
      object: 'sluice_inbound of the network namespace with cookie 99',
      agent: 'not attached: no pod is served there',
      kernel: 'attached',
    },
  ],
  [
    'a rule',
    netns(8n, { kind: 'same', inode: inodeOf(8n), missing: ['IPv4 rule'] }),
    {
      kind: 'rule',
      object: 'IPv4 rule in the network namespace of pod shop/b',
      agent: 'there',
      kernel: 'missing',
      remedy:
        'none needed: the agent looks into some network namespaces every 30 s, and puts it right when it comes to this one',
    },
  ],
  [
    'a sysctl',
    netns(8n, { kind: 'same', inode: inodeOf(8n), missing: ['net.ipv4.fwmark_reflect'] }),
    { kind: 'rule', agent: 'on', kernel: 'off' },
  ],
  [
    'a listener',
    { listeners: [{ netnsCookie: 7n, port: 15001 }] },
    {
      kind: 'listener',
      object: 'port 15006 of pod shop/a',
      agent: 'ztunnel has acknowledged the pod, and listens',
      remedy: expect.stringMatching(/^see whether ztunnel runs/),
    },
  ],
];

describe('a difference', () => {
  it.each(broken)('is reported for %s, and for nothing else', (_name, kernel, expected) => {
    expect(differences(kernel)).toEqual([expect.objectContaining(expected)]);
  });

  it('is a single one if everything that was pinned is gone', () => {
    const gone = { maps: [], programs: [], netnsLinks: [], inboundLinks: [], listeners: undefined };
    const told = differences({ ...gone, notPinned: 'no BPF file system is mounted at /bpf' });
    expect(told).toMatchObject([
      { kind: 'place', object: '/bpf/sluice', kernel: 'no BPF file system is mounted at /bpf' },
    ]);
  });

  it('is a single one if the cgroup to which the programs are attached is gone', () => {
    expect(differences({ cgroupRootId: undefined, programs: [] })).toMatchObject([
      { kind: 'place', object: '/cg', kernel: 'there is no such cgroup' },
    ]);
  });

  it('has a remedy that depends on what the agent does by itself', () => {
    const unpinned = {
      listeners: [],
      entries: broken.find(([name]) => name.startsWith('an entry, '))?.[1].entries ?? [],
    };
    const remedies = (agent: 'running' | 'stale' | 'not-running') =>
      differences({ ...unpinned, ...withProgram({ link: undefined }) }, agent).map(({ kind, remedy }) => [
        kind,
        remedy,
      ]);
    const ztunnel = ['listener', expect.stringMatching(/ztunnel/)];
    const start = 'restart the agent, which puts it right';
    const none = 'none needed: the agent’s next pass puts it right, within 30 s';
    expect(remedies('running')).toEqual([['map', none], ['link', none], ztunnel, ztunnel]);
    expect(remedies('stale')).toEqual([['map', start], ['link', start], ztunnel, ztunnel]);
    const first = 'start the agent (`sluice run`), which puts it right';
    expect(remedies('not-running')).toEqual([['map', first], ['link', first], ztunnel, ztunnel]);
  });

  it('comes after those that may have caused it, and is sorted by object', () => {
    const told = differences({
      ...ofPath(cgroup('zt'), undefined),
      listeners: [],
      hostNetnsCookie: undefined,
      maps: [{ name: 'events', id: undefined, misfit: undefined }],
      ...netns(8n, { kind: 'same', inode: inodeOf(8n), missing: ['IPv6 rule', 'IPv4 rule'] }),
      ...withProgram({ link: undefined }),
    });
    expect(told.map(({ kind, object }) => [kind, object])).toEqual([
      ['place', `${cgroup('zt')} of pod istio-system/zt`],
      ['place', '/proc/1/ns/net'],
      ['map', 'events'],
      ['link', `${CONNECT} at /cg/kubepods`],
      ['rule', 'IPv4 rule in the network namespace of pod shop/b'],
      ['rule', 'IPv6 rule in the network namespace of pod shop/b'],
      ['listener', 'port 15001 of pod shop/a'],
      ['listener', 'port 15006 of pod shop/a'],
    ]);
  });
});

describe('a state', () => {
  it('of another version is refused', () => {
    const { maps: _, ...unsaid } = stateOf(enrolment);
    expect(() => claimsOf(unsaid)).toThrow(/does not say what the maps ought to hold/);
    const other = { ...unsaid, maps: { netns_info_map: { '00': ['07'] } } };
    expect(() => claimsOf(other)).toThrow(/has maps of another layout \(netns_info_map: keySize/);
  });
});
