// All of it together, once: a process in a pod accepts a connection and dials the application from the client's address.
import { fileURLToPath } from 'node:url';
import {
  Cgroup,
  cgroup2Root,
  enterCommand,
  LineProcess,
  Namespace,
  peerProgram,
  requires,
  runToEnd,
  uniqueName,
} from '@sluice/testbed';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { addRoute, addRule, deleteRoute, deleteRule, Netns, writeSysctl } from '../src/index.js';
import { FAMILIES, route, rule } from './support/plumbing.js';

const need = requires('root', 'netns', 'cgroup2');
/** What the Makefile builds from native/test/original_source_relay.cc. */
const RELAY = fileURLToPath(new URL('../build/test/original-source-relay', import.meta.url));

const CLIENT = { 4: '10.66.30.1', 6: 'fd66:30::1' } as const;
const POD = { 4: '10.66.30.2', 6: 'fd66:30::2' } as const;
const APPLICATION_PORT = 8080;
/** The relays' ports: one dials the application by IPv4, one by IPv6. */
const RELAY_PORT = { 4: 15004, 6: 15006 } as const;
/** The ports of relays that dial a port on which nobody listens. */
const TO_NOBODY = { 4: 15014, 6: 15016 } as const;
/** The ports of relays that dial with the mark that ztunnel's sockets have. */
const UNCHANGED = { 4: 15024, 6: 15026 } as const;
const CLOSED_PORT = 8081;
const at = (address: string, port: number): string =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;

const ACCEPT = 'net.ipv4.tcp_fwmark_accept';

/** What is put into the namespace, one part at a time. */
type Part = 'rules' | 'routes' | 'sysctl';
const PARTS: readonly Part[] = ['rules', 'routes', 'sysctl'];

interface Answer {
  by: string;
  peer?: string;
  local?: string;
  error?: string;
}

describe.skipIf(need.skip)(`an application dialled from the client’s address${need.label}`, () => {
  let cgroup: Cgroup;
  let pod: Namespace;
  let netns: Netns;
  let client: Namespace;
  const processes: LineProcess[] = [];

  async function start(...argv: string[]): Promise<void> {
    const process = await LineProcess.start(enterCommand({ netns: pod.path }, argv));
    processes.push(process);
    await process.lineMatching(/ready/);
  }

  beforeAll(async () => {
    cgroup = new Cgroup(`${cgroup2Root()}/${uniqueName()}`);
    pod = await Namespace.create(cgroup);
    netns = Netns.open(pod.path);
    client = await Namespace.create(cgroup);
    await client.ip(
      `link add eth0 type veth peer name eth0 netns ${pod.pid}`,
      'link set eth0 up',
      `address add ${CLIENT[4]}/24 dev eth0`,
      `address add ${CLIENT[6]}/64 dev eth0 nodad`,
    );
    await pod.ip('link set eth0 up', `address add ${POD[4]}/24 dev eth0`, `address add ${POD[6]}/64 dev eth0 nodad`);
    await start(peerProgram(), 'serve', '--name', 'application', '--port', String(APPLICATION_PORT));
    await start(RELAY, String(RELAY_PORT[4]), `::ffff:${POD[4]}`, String(APPLICATION_PORT));
    await start(RELAY, String(RELAY_PORT[6]), POD[6], String(APPLICATION_PORT));
    await start(RELAY, String(UNCHANGED[4]), `::ffff:${POD[4]}`, String(APPLICATION_PORT), '0x539');
    await start(RELAY, String(UNCHANGED[6]), POD[6], String(APPLICATION_PORT), '0x539');
    await start(RELAY, String(TO_NOBODY[4]), `::ffff:${POD[4]}`, String(CLOSED_PORT));
    await start(RELAY, String(TO_NOBODY[6]), POD[6], String(CLOSED_PORT));
  });
  afterAll(async () => {
    for (const process of processes) await process.stop();
    await client?.close();
    netns?.close();
    await pod?.close();
    cgroup?.remove();
  });
  afterEach(remove);

  function put(parts: readonly Part[]): void {
    for (const family of FAMILIES) {
      if (parts.includes('rules')) addRule(netns, rule(family));
      if (parts.includes('routes')) addRoute(netns, route(family));
    }
    if (parts.includes('sysctl')) writeSysctl(netns, ACCEPT, '1');
  }

  function remove(): void {
    for (const family of FAMILIES) {
      deleteRule(netns, rule(family));
      deleteRoute(netns, route(family));
    }
    writeSysctl(netns, ACCEPT, '0');
  }

  /** The answers that the client got, each saying who sent it. */
  async function dial(to: string): Promise<Answer[]> {
    const argv = [peerProgram(), 'dial', '--to', to];
    const [line = ''] = await runToEnd(enterCommand({ netns: client.path }, argv));
    return (JSON.parse(line) as { hops: Answer[] }).hops;
  }

  /** Everything that we put into the pod's namespace, as iproute2 shows it. */
  async function state(): Promise<string[]> {
    const commands = ['ip -4 rule', 'ip -6 rule', 'ip -4 route show table all', 'ip -6 route show table all'];
    commands.push(`sysctl ${ACCEPT}`);
    return (await Promise.all(commands.map((command) => pod.run(command.split(' '))))).flat();
  }

  it.each(FAMILIES)('reaches the application by IPv%d, which sees the client', async (family) => {
    put(PARTS);
    // Through the relay, whose socket has a port of its own; and directly to the application, as before.
    for (const port of [RELAY_PORT[family], APPLICATION_PORT]) {
      const [hop] = await dial(at(POD[family], port));
      expect(hop).toMatchObject({ by: 'application', local: at(POD[family], APPLICATION_PORT) });
      expect(hop?.peer?.replace(/:\d+$/, ':0')).toBe(at(CLIENT[family], 0));
    }
  });

  it('does not conflict with strict reverse path filtering', async () => {
    for (const device of ['all', 'lo', 'eth0']) writeSysctl(netns, `net.ipv4.conf.${device}.rp_filter`, '1');
    put(PARTS);
    expect(await dial(at(POD[4], RELAY_PORT[4]))).toMatchObject([{ by: 'application' }]);
  });

  it.each(FAMILIES)('is refused at a closed port by IPv%d, if replies reflect the mark', async (family) => {
    put(PARTS);
    const reflect = `net.ipv${family}.fwmark_reflect`;
    const dialled = (): Promise<Answer[]> => dial(at(POD[family], TO_NOBODY[family]));
    // The kernel's reset goes to the client, which has no such connection.
    expect(await dialled()).toEqual([{ by: 'relay', error: 'no answer' }]);
    writeSysctl(netns, reflect, '1');
    try {
      expect(await dialled()).toEqual([{ by: 'relay', error: 'Connection refused' }]);
    } finally {
      writeSysctl(netns, reflect, '0');
    }
  });

  it('works for IPv4 in a namespace that has IPv6 switched off', async () => {
    writeSysctl(netns, 'net.ipv6.conf.lo.disable_ipv6', '1');
    try {
      put(PARTS);
      expect(await dial(at(POD[4], RELAY_PORT[4]))).toMatchObject([{ by: 'application' }]);
    } finally {
      writeSysctl(netns, 'net.ipv6.conf.lo.disable_ipv6', '0');
    }
  });

  it.each(PARTS)('gets no answer without the %s', async (missing) => {
    put(PARTS.filter((part) => part !== missing));
    const answers = await Promise.all(FAMILIES.map((family) => dial(at(POD[family], RELAY_PORT[family]))));
    expect(answers).toEqual(FAMILIES.map(() => [{ by: 'relay', error: 'no answer' }]));
  });

  it('gets no answer with another mark than the one that is routed back', async () => {
    put(PARTS);
    const answers = await Promise.all(FAMILIES.map((family) => dial(at(POD[family], UNCHANGED[family]))));
    expect(answers).toEqual(FAMILIES.map(() => [{ by: 'relay', error: 'no answer' }]));
  });

  it('leaves the namespace as it was', async () => {
    const before = await state();
    put(PARTS);
    expect(await state()).not.toEqual(before);
    remove();
    expect(await state()).toEqual(before);
  });
});
