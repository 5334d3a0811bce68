// How the stand-in ztunnel reacts to a faulty agent: a protocol error ends it, bytes that are not a message make it connect
// again, and the workloads that it serves go on.
import { closeSync, openSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { endpoint, requires, TestNode, type Pod, type StandInZtunnel } from '../src/index.js';
import { socketPath } from './in-pod.js';
import { add, addWithoutInfo, del, HELLO_V1, keep, snapshotSent, WireServer } from './zds-wire.js';

const need = requires('root', 'cgroup2', 'netns');

describe.skipIf(need.skip)(`a ztunnel with a faulty agent${need.label}`, () => {
  let node: TestNode;
  let pod: Pod;
  let netns: number;
  let names = 0;

  beforeAll(async () => {
    node = await TestNode.create({ remotePorts: [] });
    pod = await node.pod({ name: 'a' });
    netns = openSync(pod.netns, 'r');
  });
  afterAll(async () => {
    if (netns !== undefined) closeSync(netns);
    await node?.close();
  });

  async function connect(): Promise<{ server: WireServer; ztunnel: StandInZtunnel }> {
    const path = socketPath(node);
    const server = new WireServer(path);
    const options = { mode: 'inPod', name: `ztunnel-${names++}`, zdsSocket: path, drainMs: 0 } as const;
    const ztunnel = await node.ztunnel(options);
    expect(await server.accept()).toEqual(HELLO_V1);
    return { server, ztunnel };
  }

  test.each([
    ['an Add without workload_info', [], addWithoutInfo('x'), true, /without workload_info/],
    ['a second SnapshotSent', [snapshotSent()], snapshotSent(), false, /second SnapshotSent/],
    ['Keep after SnapshotSent', [snapshotSent()], keep('x'), false, /Keep after SnapshotSent/],
  ] as const)('%s is refused, and ends it with status 1', async (_, before, wrong, withNetns, reason) => {
    const { server, ztunnel } = await connect();
    using _server = server;
    for (const bytes of before) expect(await server.ask(bytes)).toBe('');
    expect(await server.ask(wrong, withNetns ? [netns] : [])).toMatch(reason);
    expect(await ztunnel.exited).toEqual({ code: 1, signal: null });
    expect(ztunnel.protocolErrors).toEqual([expect.stringMatching(reason)]);
    expect(await server.isClosed()).toBe(true);
  });

  test('what it cannot read is refused; it disconnects, connects again, and has kept what it had', async () => {
    const { server, ztunnel } = await connect();
    using _server = server;
    expect(await server.ask(add('x'), [netns])).toBe('');
    const unreadable: [Uint8Array, number[], RegExp][] = [
      [Buffer.from([0xff]), [], /cut off/],
      [Buffer.from([0x0a, 0x05, 0x0a]), [], /cut off/],
      [Buffer.from([0x08, 0x01]), [], /wire type 0/],
      [Buffer.from([0x3a, 0x00]), [], /no payload/],
      [add('y'), [], /Add without a descriptor/],
      [add('y'), [netns, netns], /2 descriptors/],
      [del('y'), [netns], /descriptor where none belongs/],
      [Buffer.concat([snapshotSent(), Buffer.alloc(1024)]), [], /truncated/],
    ];
    for (const [bytes, fds, reason] of unreadable) {
      expect(await server.ask(bytes, fds)).toMatch(reason);
      expect(await server.isClosed()).toBe(true);
      expect(await server.accept()).toEqual(HELLO_V1);
      expect((await pod.dial(endpoint(pod.ip4, 15008))).hops[0]?.pod).toBe('x');
    }
    expect(ztunnel.protocolErrors).toEqual([]);
    // A snapshot that names nothing is not an error: it drops everything.
    expect(await server.ask(snapshotSent())).toBe('');
    expect((await pod.dial(endpoint(pod.ip4, 15008))).error).toBe('ECONNREFUSED');
    await ztunnel.stop();
  });

  test('a Del before the snapshot takes back the name, and one for an unknown uid is acknowledged', async () => {
    const { server, ztunnel } = await connect();
    using _server = server;
    expect(await server.ask(add('x'), [netns])).toBe('');
    expect(await server.ask(keep('y'))).toBe('');
    expect(await server.ask(del('x'))).toBe('');
    expect(await server.ask(snapshotSent())).toBe('');
    expect(await server.ask(del('x'))).toBe('');
    await ztunnel.event('snapshot');
    expect(ztunnel.workloads.size).toBe(0);
    await ztunnel.stop();
  });

  test('a descriptor that is not a network namespace is refused, and the conversation goes on', async () => {
    const { server, ztunnel } = await connect();
    using _server = server;
    const other = openSync('/proc/self/ns/uts', 'r');
    expect(await server.ask(add('x'), [other])).toMatch(/enter the network namespace: Invalid argument/);
    closeSync(other);
    expect(await server.ask(add('x'), [netns])).toBe('');
    expect(await server.ask(snapshotSent())).toBe('');
    await ztunnel.event('ready');
    await ztunnel.stop();
  });
});
