// `sluice status --verify` on a real node: it finds no difference while nobody interferes. Then one thing after another is broken
// from outside, with no agent to put it right, and the command has to report exactly that.
import { readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stateFile, verifyNode, type Difference, type VerifiedStatus } from '@sluice/ambient-agent';
import { BpfLink, BpfMap, openObject, queryCgroup } from '@sluice/libbpf';
import { Netns, netnsCookie } from '@sluice/linux';
import { enterCommand, requires, runToEnd, type Cgroup, type Pod } from '@sluice/testbed';
import * as Clock from 'effect/Clock';
import * as Effect from 'effect/Effect';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NodeAgent } from './node-agent.js';
import { runProgram, SLUICE } from './program.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
const DATAPATH_OBJECT = fileURLToPath(new URL('../../datapath/dist/sluice.bpf.o', import.meta.url));
const INBOUND_OBJECT = fileURLToPath(new URL('../../datapath/dist/inbound.bpf.o', import.meta.url));
const ambient = { 'istio.io/dataplane-mode': 'ambient' };
/** Offset in struct cgroup_info (bpf/maps.h), in bytes. */
const FLAGS_OFFSET = 28;
const DNS_CAPTURE = 2;

interface Verified {
  readonly code: number;
  readonly text: string;
  readonly verification: VerifiedStatus['verification'];
  readonly warnings: readonly string[];
}

/** Runs the command for programs and for people. */
async function verify(host: NodeAgent): Promise<Verified> {
  // Both wait between two looks.
  const [json, text] = await Promise.all([
    host.sluice('status', '--verify', '-o', 'json'),
    host.sluice('status', '--verify'),
  ]);
  if (json.stdout === '') throw new Error(json.stderr);
  expect(text.code).toBe(json.code);
  const { verification, warnings } = JSON.parse(json.stdout) as VerifiedStatus;
  return { code: json.code, text: text.stdout, verification, warnings };
}

/** Verifies while something happens instead of each pause between two looks. */
const lookingOn = (host: NodeAgent, happens: (pause: number) => unknown): Promise<VerifiedStatus> => {
  let pauses = 0;
  const sleep = (): Effect.Effect<void> => Effect.sync(() => void happens((pauses += 1)));
  const looks = Effect.flatMap(Clock.Clock, (clock) =>
    Effect.provideService(
      verifyNode({ runDir: host.runDir, proc: '/proc' }),
      Clock.Clock,
      Object.assign(Object.create(clock) as Clock.Clock, { sleep }),
    ),
  );
  return Effect.runPromise(looks);
};

type Words = string | RegExp;
const fitting = (text: Words): unknown => (typeof text === 'string' ? text : expect.stringMatching(text));

/** What is broken, and what has to be reported. */
interface Breakage {
  readonly kind: Difference['kind'];
  readonly object: Words;
  readonly agent: Words;
  readonly kernel: Words;
  /** Returns what undoes it, or nothing if an agent that starts undoes it. */
  readonly break: () => Undo | undefined | Promise<Undo | undefined>;
}
type Undo = () => unknown;

/** Only this is reported, and nothing any more once it is undone. */
async function tells(host: NodeAgent, breakage: Breakage): Promise<void> {
  const { kind, object, agent, kernel } = breakage;
  const undo = await breakage.break();
  try {
    const { code, text, verification } = await verify(host);
    const sides = {
      agent: fitting(agent),
      kernel: fitting(kernel),
      remedy: expect.stringMatching(/agent|ztunnel|detach/),
    };
    expect(verification.differences).toEqual([{ kind, object: fitting(object), ...sides }]);
    expect({ code, ...verification }).toMatchObject({ code: 3, isSettled: true, unchecked: [] });
    const [found] = verification.differences;
    expect(text).toContain(
      `\n  ${found?.object}\n    agent   ${found?.agent}\n    kernel  ${found?.kernel}\n    remedy  ${found?.remedy}\n`,
    );
  } finally {
    if (undo === undefined) {
      await host.agent.start();
      // Its first pass may have found too little, and a pass that is killed has not told yet what it has done.
      await host.becomes('cart', 'in');
      await host.agrees();
      await host.agent.kill9();
    } else await undo();
  }
  expect((await host.agrees()).verification).toMatchObject({ differences: [], unchecked: [] });
}

/** Changes an entry of a pinned map by hand; returns what puts it back. */
function edit(
  host: NodeAgent,
  name: string,
  fits: (key: Buffer) => boolean,
  change: (map: BpfMap, key: Buffer, value: Buffer) => void,
): Undo {
  const open = (): BpfMap => BpfMap.openPinned(join(host.bpffs, 'sluice/maps', name));
  using map = open();
  const [key, value] = [...map.entries()].find(([one]) => fits(one)) ?? [];
  if (key === undefined || value === undefined) throw new Error(`${name} has no such entry`);
  change(map, key, Buffer.from(value));
  return () => {
    using again = open();
    again.update(key, value);
  };
}

const any = (): boolean => true;
const remove = (map: BpfMap, key: Buffer): void => void map.delete(key);

/** Offset in struct agent_config (bpf/maps.h), in bytes. */
const POLICY_OFFSET = 12;
const setPolicy =
  (bits: number) =>
  (map: BpfMap, key: Buffer, value: Buffer): void => {
    value.writeUInt32LE(bits, POLICY_OFFSET);
    map.update(key, value);
  };

/** Adds an entry that the agent did not write. */
function add(host: NodeAgent, name: string, key: Buffer, value: (map: BpfMap) => Buffer): Undo {
  const open = (): BpfMap => BpfMap.openPinned(join(host.bpffs, 'sluice/maps', name));
  using map = open();
  map.update(key, value(map));
  return () => {
    using again = open();
    again.delete(key);
  };
}

/** Replaces the pin of a map by that of another map, or by none. */
function replacePin(host: NodeAgent, name: string, pinOther?: (path: string) => void): Undo {
  const path = join(host.bpffs, 'sluice/maps', name);
  const map = BpfMap.openPinned(path);
  unlinkSync(path);
  pinOther?.(path);
  return () => {
    if (pinOther !== undefined) unlinkSync(path);
    map.pin(path);
    map.close();
  };
}

const idKey = (id: string | bigint): Buffer => {
  const key = Buffer.alloc(8);
  key.writeBigUInt64LE(BigInt(id));
  return key;
};
/** The pin of a program's link to a cgroup. */
const linkPath = (host: NodeAgent, program: string, { id }: Cgroup): string =>
  join(host.bpffs, 'sluice/links', `${program}-${id}`);
const netnsLinkPath = (host: NodeAgent, cookie: bigint | string): string =>
  join(host.bpffs, 'sluice/links', `netns-${cookie}`);
/** Right above the QoS classes of the pods. */
const kubepods = (host: NodeAgent): Cgroup => host.node.cgroup.child('kubepods');
const inNetns = (pod: Pod, ...argv: string[]): Promise<string[]> => runToEnd(enterCommand({ netns: pod.netns }, argv));

/** The kernel detaches a link some time after the last reference to it is gone. */
const attachedNow = async ({ path }: Cgroup, count: number): Promise<void> => {
  const programs = (): number => queryCgroup(path, 'cgroup_inet4_connect').programs.length;
  await expect.poll(programs).toBe(count);
};

/** Changes what the agent says, instead of what the kernel has. */
function editState(host: NodeAgent, change: (text: string) => string): Undo {
  const path = join(host.runDir, 'state.json');
  const before = readFileSync(path, 'utf8');
  const after = change(before);
  expect(after).not.toBe(before);
  writeFileSync(path, after);
  return () => writeFileSync(path, before);
}

describe.skipIf(need.skip)(`status --verify in inPod mode${need.label}`, () => {
  let host: NodeAgent;
  let cart: Pod;
  let client: Pod;
  /** Ids of cgroups, the pod's own first. */
  let cartCgroups: readonly string[];
  let cookie: string;

  beforeAll(async () => {
    // By rewrite, more programs are attached than by route.
    host = await NodeAgent.createInPod({ capture: 'rewrite' });
    host.node.kubernetes.setNamespace('shop', ambient);
    host.node.kubernetes.setNamespace('plain', {});
    const annotations = {
      'traffic.sidecar.istio.io/excludeOutboundPorts': '9999',
      'traffic.sidecar.istio.io/excludeOutboundIPRanges': '10.50.0.0/16',
    };
    cart = await host.node.pod({ namespace: 'shop', name: 'cart', annotations });
    client = await host.node.pod({ namespace: 'plain', name: 'client' });
    await host.agent.start();
  });
  afterAll(() => host?.node.close());

  it('finds no difference while a pod is pending, in the mesh, and when the agent is gone', async () => {
    await host.becomes('cart', 'pending');
    const pending = await host.agrees();
    expect(pending.verification).toMatchObject({ differences: [], unchecked: [], isSettled: true });
    await host.node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket });
    const status = await host.becomes('cart', 'in');
    cartCgroups = status?.cgroups.map(({ id }) => id) ?? [];
    cookie = status?.netnsCookie ?? '';
    await host.agrees();
    const running = await verify(host);
    expect(running).toMatchObject({ code: 0, warnings: [], verification: { differences: [], isSettled: true } });
    expect(running.verification.compared).toEqual({ entries: 17, programs: 16, networkNamespaces: 1 });
    await host.agent.kill9();
    const without = await verify(host);
    expect(without.code).toBe(0);
    expect(without.warnings[0]).toMatch(/^agent not running; datapath still enforced/);
    expect(without.text).toMatch(
      /\nverify {4}no difference between what the agent says and the kernel \(17 map entries, 16 programs, 1 network namespaces\)\n$/,
    );
  });

  const cases: [string, () => Breakage][] = [
    [
      'an entry that is gone',
      () => ({
        kind: 'map',
        object: `cgroup_info_map: cgroup ${cartCgroups[1]} of pod shop/cart`,
        agent: `workload ${cartCgroups[0]}, in the mesh yes, IP ${cart.ip4}, flags AMBIENT DNS_CAPTURE IN_POD EXCLUDES, decided flags AMBIENT DNS_CAPTURE ZTUNNEL IN_POD PENDING KUBELET BYPASS_INBOUND ROUTE REFUSE_WAITING OPEN_WAITING`,
        kernel: 'no such entry',
        break: () => edit(host, 'cgroup_info_map', (key) => key.equals(idKey(cartCgroups[1] ?? '')), remove),
      }),
    ],
    [
      'a flag',
      () => ({
        kind: 'map',
        object: `netns_info_map: network namespace ${cookie} of pod shop/cart`,
        agent: 'flags AMBIENT DNS_CAPTURE IN_POD EXCLUDES',
        kernel: 'flags AMBIENT IN_POD EXCLUDES',
        break: () =>
          edit(host, 'netns_info_map', any, (map, key, value) => {
            value.writeUInt16LE(value.readUInt16LE(FLAGS_OFFSET) & ~DNS_CAPTURE, FLAGS_OFFSET);
            map.update(key, value);
          }),
      }),
    ],
    [
      'an entry of a pod that is out of the mesh',
      () => ({
        kind: 'map',
        object: `cgroup_info_map: cgroup ${client.app.cgroupId} of pod plain/client`,
        agent: 'no such entry: out: no label istio.io/dataplane-mode=ambient on the pod or its namespace',
        kernel: /^workload \d+, in the mesh yes, /,
        break: () =>
          add(host, 'cgroup_info_map', idKey(client.app.cgroupId), (map) => {
            const value = map.lookup(idKey(cartCgroups[0] ?? ''));
            if (value === undefined) throw new Error('the pod has no entry');
            return value;
          }),
      }),
    ],
    [
      'an entry that is nobody’s',
      () => ({
        kind: 'map',
        object: 'local_pods: IP fd77::1',
        agent: 'no such entry',
        kernel: 'network namespace 0, flags none',
        break: () => {
          const key = Buffer.from('fd770000000000000000000000000001', 'hex');
          return add(host, 'local_pods', key, (map) => Buffer.alloc(map.valueSize));
        },
      }),
    ],
    [
      'the addresses of a pod',
      () => ({
        kind: 'map',
        object: `pod_addresses: network namespace ${cookie} of pod shop/cart`,
        agent: `IPv4 ${cart.ip4}, IPv6 ${cart.ip6}`,
        kernel: 'IPv4 none, IPv6 none',
        break: () => edit(host, 'pod_addresses', any, (map, key, { length }) => map.update(key, Buffer.alloc(length))),
      }),
    ],
    [
      'a traffic rule',
      () => ({
        kind: 'map',
        object: `port_rules: workload ${cartCgroups[0]}, EXCLUDE_OUTBOUND port 9999 of pod shop/cart`,
        agent: 'an entry',
        kernel: 'no such entry',
        break: () => edit(host, 'port_rules', any, remove),
      }),
    ],
    [
      'a range',
      () => ({
        kind: 'map',
        object: `excluded_cidrs: workload ${cartCgroups[0]}, excluded range 10.50.0.0/16 of pod shop/cart`,
        agent: 'family 4',
        kernel: 'no such entry',
        break: () => edit(host, 'excluded_cidrs', any, remove),
      }),
    ],
    [
      'the policy',
      () => ({
        kind: 'map',
        object: 'config: the one entry',
        agent: 'noZtunnel closed',
        kernel: 'noZtunnel open',
        break: () => edit(host, 'config', any, setPolicy(1)),
      }),
    ],
    [
      'an address of ztunnel’s that the mode does not have',
      () => ({
        kind: 'map',
        object: 'settings: IPV6',
        agent: 'no such entry',
        kernel: 'ztunnel fd77::1',
        break: () =>
          add(host, 'settings', Buffer.from([2, 0, 0, 0]), () =>
            Buffer.from('fd770000000000000000000000000001', 'hex'),
          ),
      }),
    ],
    [
      'a map that is not pinned',
      () => ({
        kind: 'map',
        object: 'netns_info_map',
        agent: 'a map of this version, used by all',
        kernel: 'no map is pinned by this name',
        break: () => replacePin(host, 'netns_info_map'),
      }),
    ],
    [
      'a map of another layout',
      () => ({
        kind: 'map',
        object: 'local_pods',
        agent: 'a map of this version, used by all',
        kernel: 'type percpu_array, not hash, keySize 4, not 16, valueSize 8, not 16',
        break: () =>
          replacePin(host, 'local_pods', (path) => {
            using other = BpfMap.openPinned(join(host.bpffs, 'sluice/maps/events'));
            other.pin(path);
          }),
      }),
    ],
    [
      'a map that is not the programs’',
      () => ({
        kind: 'map',
        object: 'settings',
        agent: 'a map of this version, used by all',
        kernel: /^map \d+, while another is used by .*sluice_connect4, sluice_connect6/,
        break: () =>
          replacePin(host, 'settings', (path) => {
            using object = openObject(DATAPATH_OBJECT);
            object.load();
            object.map('settings').pin(path);
          }),
      }),
    ],
    [
      'a link that is not pinned',
      () => ({
        kind: 'link',
        object: `sluice_connect4 at ${kubepods(host).path}`,
        agent: 'attached',
        kernel: 'not attached',
        break: async () => {
          unlinkSync(linkPath(host, 'sluice_connect4', kubepods(host)));
          await attachedNow(kubepods(host), 0);
          return undefined;
        },
      }),
    ],
    [
      'a link whose program is attached by somebody else only',
      () => ({
        kind: 'link',
        object: `sluice_connect4 at ${kubepods(host).path}`,
        agent: 'attached',
        kernel: /^program \d+, by no pinned link$/,
        break: () => {
          const path = linkPath(host, 'sluice_connect4', kubepods(host));
          const link = BpfLink.openPinned(path);
          link.unpin();
          return () => {
            link.pin(path);
            link.close();
          };
        },
      }),
    ],
    [
      'a link that was detached',
      () => ({
        kind: 'link',
        object: `sluice_sockops at ${cart.cgroup.path}`,
        agent: 'attached',
        kernel: 'its link is attached to nothing: it was detached',
        break: () => {
          using link = BpfLink.openPinned(linkPath(host, 'sluice_sockops', cart.cgroup));
          link.detach();
          return undefined;
        },
      }),
    ],
    [
      'a program that is attached twice',
      () => ({
        kind: 'link',
        object: `sluice_connect4 at ${kubepods(host).path}`,
        agent: 'attached',
        kernel: /^attached twice: by its link, and program \d+$/,
        break: () => {
          using object = openObject(DATAPATH_OBJECT);
          object.load();
          const link = object.program('sluice_connect4').attachCgroup(kubepods(host).path);
          return async () => {
            link.close();
            await attachedNow(kubepods(host), 1);
          };
        },
      }),
    ],
    [
      'a network namespace’s link that is not pinned',
      () => ({
        kind: 'link',
        object: 'sluice_inbound of pod shop/cart',
        agent: `attached to the network namespace with cookie ${cookie}`,
        kernel: 'not attached',
        break: () => {
          using link = BpfLink.openPinned(netnsLinkPath(host, cookie));
          link.unpin();
          link.detach();
          return undefined;
        },
      }),
    ],
    [
      'a network namespace’s link that was detached',
      () => ({
        kind: 'link',
        object: 'sluice_inbound of pod shop/cart',
        agent: `attached to the network namespace with cookie ${cookie}`,
        kernel: 'its link is attached to nothing: it was detached',
        break: () => {
          using link = BpfLink.openPinned(netnsLinkPath(host, cookie));
          link.detach();
          return undefined;
        },
      }),
    ],
    [
      'an inbound program that is attached twice',
      () => ({
        kind: 'link',
        object: 'sluice_inbound of pod shop/cart',
        agent: `attached to the network namespace with cookie ${cookie}`,
        kernel: /^attached twice: by its link, and program \d+$/,
        break: () => {
          using object = openObject(INBOUND_OBJECT);
          object.load();
          using netns = Netns.open(cart.netns);
          const link = object.program('sluice_inbound').attachNetns(netns);
          return () => {
            link.detach();
            link.close();
          };
        },
      }),
    ],
    [
      'an inbound program where no pod is served',
      () => ({
        kind: 'link',
        object: `sluice_inbound of the network namespace with cookie ${netnsCookie(client.netns)}`,
        agent: 'not attached: no pod is served there',
        kernel: 'attached',
        break: () => {
          using object = openObject(INBOUND_OBJECT);
          object.load();
          using netns = Netns.open(client.netns);
          using link = object.program('sluice_inbound').attachNetns(netns);
          link.pin(netnsLinkPath(host, netns.cookie));
          return undefined;
        },
      }),
    ],
    [
      'a rule',
      () => ({
        kind: 'rule',
        object: 'IPv4 rule in the network namespace of pod shop/cart',
        agent: 'there',
        kernel: 'missing',
        break: async () => {
          await inNetns(cart, 'ip', '-4', 'rule', 'del', 'priority', '32764');
          return undefined;
        },
      }),
    ],
    [
      'a route',
      () => ({
        kind: 'rule',
        object: 'IPv6 route in the network namespace of pod shop/cart',
        agent: 'there',
        kernel: 'missing',
        break: async () => {
          await inNetns(cart, 'ip', '-6', 'route', 'flush', 'table', '100');
          return undefined;
        },
      }),
    ],
    [
      'a sysctl',
      () => ({
        kind: 'rule',
        object: 'net.ipv4.tcp_fwmark_accept in the network namespace of pod shop/cart',
        agent: 'on',
        kernel: 'off',
        break: async () => {
          await inNetns(cart, 'sysctl', '-w', 'net.ipv4.tcp_fwmark_accept=0');
          return () => inNetns(cart, 'sysctl', '-w', 'net.ipv4.tcp_fwmark_accept=1');
        },
      }),
    ],
    [
      'a listener',
      () => ({
        kind: 'listener',
        object: 'port 15006 of pod shop/cart',
        agent: 'ztunnel has acknowledged the pod, and listens',
        kernel: /^no socket of ztunnel’s is known to listen there/,
        break: () => {
          // struct listener_key: the port is the second of two words of 64 bits.
          edit(host, 'listeners', (key) => key.readBigUInt64LE(8) === 15006n, remove);
          return undefined;
        },
      }),
    ],
    [
      'the host’s network namespace',
      () => ({
        kind: 'place',
        object: host.node.netns.path,
        agent: 'the host’s network namespace, with cookie 1',
        kernel: `one with cookie ${netnsCookie(host.node.netns.path)}`,
        break: () => editState(host, (text) => text.replace(/"hostNetnsCookie":"\d+"/, '"hostNetnsCookie":"1"')),
      }),
    ],
    [
      'a cgroup that is another by now',
      () => ({
        kind: 'place',
        object: /^\/.*\/pod.* of pod istio-system\/ztunnel$/,
        agent: 'a cgroup with id 7',
        kernel: /^one with id \d+$/,
        break: () => {
          const { cgroups } = host.status().state.workloads.find(({ role }) => role === 'ztunnel') ?? { cgroups: [] };
          return editState(host, (text) => text.replace(`"id":"${cgroups[0]?.id}"`, '"id":"7"'));
        },
      }),
    ],
    [
      'a BPF file system that is unmounted',
      () => ({
        kind: 'place',
        object: join(host.bpffs, 'sluice'),
        agent: 'maps and links are pinned there',
        kernel: `no BPF file system is mounted at ${host.bpffs}`,
        break: async () => {
          await runToEnd(['umount', host.bpffs]);
          await attachedNow(kubepods(host), 0);
          // An agent that starts has to have one.
          return async () => {
            await runToEnd(['mount', '-t', 'bpf', 'bpf', host.bpffs]);
            await host.agent.start();
          };
        },
      }),
    ],
  ];
  it.each(cases)('reports %s, and nothing else', async (_name, breakage) => {
    await tells(host, breakage());
  });

  it('reports a pod that ended while no agent ran, which the next agent finds out', async () => {
    await host.agent.kill9();
    await cart.delete();
    const { code, verification } = await verify(host);
    expect(code).toBe(3);
    expect(verification.differences).toContainEqual({
      kind: 'place',
      object: `${cart.cgroup.path} of pod shop/cart`,
      agent: `a cgroup with id ${cartCgroups[0]}`,
      kernel: 'it is gone',
      remedy: 'start the agent (`sluice run`), which puts it right',
    });
    expect(verification.unchecked).toEqual(['the network namespace of pod shop/cart: the pod has no cgroup']);
    await host.agent.start();
    expect((await host.agrees()).verification).toMatchObject({ differences: [], unchecked: [] });
  });
});

describe.skipIf(need.skip)(`status --verify in node mode${need.label}`, () => {
  let host: NodeAgent;
  let pod: Pod;
  beforeAll(async () => {
    host = await NodeAgent.create();
    host.node.kubernetes.setNamespace('shop', ambient);
    await host.node.ztunnel();
    pod = await host.node.pod({ namespace: 'shop', name: 'cart' });
    await host.agent.start();
    await host.becomes('cart', 'in');
  });
  afterAll(() => host?.node.close());

  it('finds no difference, with an agent and without', async () => {
    await host.agrees();
    const running = await verify(host);
    expect(running).toMatchObject({ code: 0, warnings: [], verification: { differences: [], unchecked: [] } });
    // Six cgroups, one network namespace, two IPs, two addresses of ztunnel, the configuration.
    expect(running.verification.compared).toEqual({ entries: 12, programs: 15, networkNamespaces: 1 });
    await host.agent.kill9();
    expect(await verify(host)).toMatchObject({ code: 0, verification: { differences: [], unchecked: [] } });
  });

  const cases: [string, () => Breakage][] = [
    [
      'an address of ztunnel’s',
      () => ({
        kind: 'map',
        object: 'settings: IPV4',
        agent: /^ztunnel 10\./,
        kernel: 'no such entry',
        break: () => edit(host, 'settings', (key) => key.readUInt32LE() === 1, remove),
      }),
    ],
    [
      'an IP of a pod',
      () => ({
        kind: 'map',
        object: `local_pods: IP ${pod.ip6} of pod shop/cart`,
        agent: /^network namespace \d+, flags AMBIENT$/,
        kernel: 'no such entry',
        break: () => edit(host, 'local_pods', (key) => key[0] === 0xfd, remove),
      }),
    ],
    [
      'a link',
      () => ({
        kind: 'link',
        object: `sluice_getsockopt at ${host.node.cgroup.path}`,
        agent: 'attached',
        kernel: 'its link is attached to nothing: it was detached',
        break: () => {
          using link = BpfLink.openPinned(linkPath(host, 'sluice_getsockopt', host.node.cgroup));
          link.detach();
          return undefined;
        },
      }),
    ],
  ];
  it.each(cases)('reports %s, and nothing else', async (_name, breakage) => {
    await tells(host, breakage());
  });
});

describe.skipIf(need.skip)(`status --verify and the agent${need.label}`, () => {
  it('finds no difference once the agent has repaired what was broken', async () => {
    await using host = await NodeAgent.createInPod({ resyncInterval: '1s' });
    host.node.kubernetes.setNamespace('shop', ambient);
    await host.node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket });
    const pod = await host.node.pod({ namespace: 'shop', name: 'cart' });
    await host.agent.start();
    await host.becomes('cart', 'in');
    await host.agrees();
    // The agent is stopped, but counts as running, so that the command looks again.
    host.agent.process.signal('SIGSTOP');
    edit(host, 'netns_info_map', any, remove);
    await inNetns(pod, 'ip', '-4', 'rule', 'del', 'priority', '32764');
    const broken = await verify(host);
    expect(broken).toMatchObject({ code: 3, verification: { looks: 2, isSettled: true } });
    expect(broken.verification.differences.map(({ object, remedy }) => [object, remedy])).toEqual([
      [
        expect.stringMatching(/^netns_info_map: network namespace \d+ of pod shop\/cart$/),
        'none needed: the agent’s next pass puts it right, within 1 s',
      ],
      [
        'IPv4 rule in the network namespace of pod shop/cart',
        'none needed: the agent looks into some network namespaces every 1 s, and puts it right when it comes to this one',
      ],
    ]);
    host.agent.process.signal('SIGCONT');
    await host.agrees();
    expect(await verify(host)).toMatchObject({ code: 0, verification: { differences: [] } });
    await host.agent.stop();
  });

  it('reports no passing difference, and says so if the state changes under every look', async () => {
    await using host = await NodeAgent.create();
    await host.agent.start();
    // The agent is stopped, but counts as running, so that it may be in the middle of a pass.
    host.agent.process.signal('SIGSTOP');
    const openPolicy = (): Undo => edit(host, 'config', any, setPolicy(1));
    let undo = openPolicy();
    const once = await lookingOn(host, () => undo());
    expect(once.verification).toMatchObject({ differences: [], looks: 2, isSettled: true });

    {
      using link = BpfLink.openPinned(linkPath(host, 'sluice_connect4', host.node.cgroup));
      link.detach();
    }
    unlinkSync(linkPath(host, 'sluice_connect4', host.node.cgroup));
    await attachedNow(host.node.cgroup, 0);
    const { state } = host.status();
    undo = openPolicy();
    const restless = await lookingOn(host, (pause) => {
      stateFile(host.runDir).replace({ ...state, problems: [`${pause}`] });
      if (pause % 2 === 1) undo();
      else undo = openPolicy();
    });
    // Every other look finds two differences.
    expect(restless.verification).toMatchObject({
      isSettled: false,
      looks: 6,
      differences: [{ object: `sluice_connect4 at ${host.node.cgroup.path}` }],
    });
    host.agent.process.signal('SIGCONT');
    await host.agent.stop();
  });

  it('says that it needs root, and that an older agent’s state is not enough', async () => {
    await using host = await NodeAgent.create();
    const nobody = await runProgram([
      'setpriv',
      '--reuid=65534',
      '--regid=65534',
      '--clear-groups',
      // The checkout may be in a directory that only root can enter.
      '--inh-caps=-all,+dac_read_search',
      '--ambient-caps=-all,+dac_read_search',
      process.execPath,
      SLUICE,
      'status',
      '--verify',
      '--run-dir',
      host.runDir,
    ]);
    expect([nobody.code, nobody.stderr]).toEqual([
      1,
      'sluice: only root can read the kernel’s maps and links and the network namespaces of pods; run this as root\n',
    ]);
    const absent = await host.sluice('status', '--verify');
    expect([absent.code, absent.stdout, absent.stderr]).toEqual([
      3,
      '',
      expect.stringMatching(/^sluice: no agent has run here/),
    ]);
    await host.agent.start();
    await host.agent.stop();
    const { maps, ...older } = host.status().state;
    expect(Object.keys(maps ?? {})).toContain('cgroup_info_map');
    stateFile(host.runDir).replace(older);
    const unsaid = await host.sluice('status', '--verify');
    expect([unsaid.code, unsaid.stderr]).toEqual([
      3,
      expect.stringMatching(
        /^sluice: the agent of version \S+ does not say what the maps ought to hold; use the command that came with it\n$/,
      ),
    ]);
    stateFile(host.runDir).replace({ ...older, maps: { ...maps, settings: { '00': ['0100'] } } });
    const other = await host.sluice('status', '--verify');
    expect([other.code, other.stderr]).toEqual([3, expect.stringMatching(/ has maps of another layout \(settings: /)]);
  });
});
